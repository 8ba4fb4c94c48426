"""The segmenter's training augmentation, as released, every random number from one generator.

Scale jitter, category-constrained crop, SSD's colour jitter, horizontal flip, padding. The
pixel operations are torchvision's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

PADDING_VALUE = 128
CROP_TRIES = 10


@dataclass(frozen=True)
class TrainingSample:
    """One augmented image.

    Attributes:
        image: (3, S, S) uint8, RGB, padded with grey on the right and below.
        label: (S, S) int64, training ids; −1 without ground truth, and in the padding.
        size: height and width without the padding.
    """

    image: Tensor
    label: Tensor
    size: tuple[int, int]


@dataclass
class SegmenterAugmentation:
    """Augment an image and its label map.

    Args:
        short_side: smallest and largest short side of the scale jitter, pixels.
        scale_step: step between the short sides, as a share of `crop_size`.
        longest_side: no side is made longer, pixels.
        crop_size: side S of the result, pixels.
        max_category_share: a crop in which one class covers more of the labelled pixels is
            drawn again, up to ten times; 1: never.
        color_jitter: whether to change colours.
        horizontal_flip: probability.
    """

    short_side: Sequence[int]
    scale_step: float
    longest_side: int
    crop_size: int
    max_category_share: float
    color_jitter: bool
    horizontal_flip: float

    def __post_init__(self) -> None:
        step = self.scale_step * self.crop_size
        first, last = self.short_side
        count = max(0, int((last - first) / step + 1e-6)) if step else 0
        self.short_sides = [round(first + number * step) for number in range(count + 1)]

    def __call__(
        self, image: NDArray[np.uint8], label: NDArray[np.int32], rng: np.random.Generator
    ) -> TrainingSample:
        """Augment.

        Args:
            image: (H, W, 3) uint8, RGB.
            label: (H, W) int32, −1 without ground truth.
            rng: every random number comes from it.
        """
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        ids = torch.from_numpy(label.astype(np.int64))[None]
        pixels, ids = self._resize(pixels, ids, rng)
        pixels, ids = self._crop(pixels, ids, rng)
        if self.color_jitter:
            pixels = ssd_color_jitter(pixels, rng)
        if rng.random() < self.horizontal_flip:
            pixels, ids = TF.horizontal_flip(pixels), TF.horizontal_flip(ids)
        height, width = pixels.shape[1:]
        border = [0, 0, self.crop_size - width, self.crop_size - height]
        return TrainingSample(
            TF.pad(pixels, border, fill=PADDING_VALUE),
            TF.pad(ids, border, fill=-1)[0],
            (height, width),
        )

    def _resize(
        self, pixels: Tensor, ids: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        height, width = pixels.shape[1:]
        short = self.short_sides[rng.integers(len(self.short_sides))]
        scale = min(short / min(height, width), self.longest_side / max(height, width))
        size = [max(1, round(height * scale)), max(1, round(width * scale))]
        resized = TF.resize(pixels, size, InterpolationMode.BILINEAR, antialias=True)
        return resized, TF.resize(ids, size, InterpolationMode.NEAREST_EXACT)

    def _crop(self, pixels: Tensor, ids: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        height, width = (min(self.crop_size, side) for side in pixels.shape[1:])
        for _ in range(CROP_TRIES):
            top = int(rng.integers(pixels.shape[1] - height + 1))
            left = int(rng.integers(pixels.shape[2] - width + 1))
            part = TF.crop(ids, top, left, height, width)
            if self.max_category_share >= 1:
                break
            counts = torch.bincount(part[part >= 0])
            if (counts > 0).sum() > 1 and counts.max() <= self.max_category_share * counts.sum():
                break
        return TF.crop(pixels, top, left, height, width), part


def ssd_color_jitter(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """The photometric distortion of SSD: each change with probability one half.

    Brightness by up to ±32 of 255, contrast and saturation by a factor of 0.5 to 1.5, hue by up
    to ±18 of 180; contrast comes before or after saturation and hue.

    Args:
        pixels: (3, H, W) uint8, RGB.
        rng: source of the random numbers.
    """
    contrast_first = rng.random() < 0.5
    if rng.random() < 0.5:
        shift = rng.uniform(-32, 32)
        pixels = (pixels.float() + shift).round().clamp(0, 255).to(torch.uint8)
    if contrast_first:
        pixels = _contrast(pixels, rng)
    if rng.random() < 0.5:
        pixels = TF.adjust_saturation(pixels, rng.uniform(0.5, 1.5))
    if rng.random() < 0.5:
        pixels = TF.adjust_hue(pixels, rng.uniform(-18, 18) / 180)
    return pixels if contrast_first else _contrast(pixels, rng)


def _contrast(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Scale all values, as SSD does: around zero, not around the mean."""
    if rng.random() < 0.5:
        return pixels
    factor = rng.uniform(0.5, 1.5)
    return (pixels.float() * factor).round().clamp(0, 255).to(torch.uint8)
