"""Images as the networks take them: read, resized, normalised, padded."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from scan_core.models.resizing import resized

# ImageNet's mean and standard deviation, RGB, on the 0..255 scale: the backbone's input.
PIXEL_MEAN = (123.675, 116.280, 103.530)
PIXEL_STD = (58.395, 57.120, 57.375)
# Images are padded to a multiple of this, the coarsest stride.
STRIDE = 32

_Numbers = Sequence[float] | Sequence[Sequence[float]]


@dataclass(frozen=True)
class ClipInput:
    """How an image tower takes its images.

    Attributes:
        size: height and width, pixels.
        mean: of each channel, RGB, on the 0..255 scale.
        std: standard deviation, likewise. The defaults are those of CLIP's first weights.
    """

    size: int
    mean: tuple[float, ...] = tuple(255 * value for value in (0.48145466, 0.4578275, 0.40821073))
    std: tuple[float, ...] = tuple(255 * value for value in (0.26862954, 0.26130258, 0.27577711))


def resize(image: NDArray[np.uint8], short_side: int, longest_side: int) -> Tensor:
    """Resize for the networks, with Pillow's bilinear filter.

    Args:
        image: (H, W, 3) uint8, RGB.
        short_side: see `resizing.resized_shape`.
        longest_side: likewise.

    Returns:
        (3, H', W') uint8.
    """
    return torch.from_numpy(resized(image, short_side, longest_side))


def padded_size(images: Sequence[Tensor]) -> tuple[int, int]:
    """The smallest height and width, multiples of 32, that hold all of some (3, H, W) images."""
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    return -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE


def backbone_input(
    images: Sequence[Tensor],
    mean: Sequence[float] = PIXEL_MEAN,
    std: Sequence[float] = PIXEL_STD,
) -> Tensor:
    """Normalise and pad to one size.

    Args:
        images: B of (3, H, W) uint8, on one device.
        mean: of each channel.
        std: standard deviation, likewise.

    Returns:
        (B, 3, H', W') float32; zeros right of and below each image.
    """
    height, width = padded_size(images)
    padded = []
    for batch in _of_one_size(images):
        room = (0, width - batch.shape[3], 0, height - batch.shape[2])
        padded.append(F.pad(normalise(batch, mean, std), room))
    return torch.cat(padded)


def resize_for_clip(images: Sequence[Tensor], clip_input: ClipInput, as_released: bool) -> Tensor:
    """Whole images as the frozen CLIP takes them.

    The released model pads the normalised images to the largest of the batch, and shrinks them,
    padding and all, by taking the nearest pixel. By default each image is shrunk by itself with
    antialiasing, as it is when CLIP is fine-tuned.

    Args:
        images: B of (3, H, W) uint8, on one device.
        clip_input: how CLIP takes its images: the side S, mean and deviation.
        as_released: do as the released model does.

    Returns:
        (B, 3, S, S) float32; the aspect ratio is not kept.
    """
    size, mean, std = clip_input.size, clip_input.mean, clip_input.std
    if as_released:
        return F.interpolate(backbone_input(images, mean, std), (size, size), mode="nearest")
    shrink = partial(F.interpolate, size=(size, size), mode="bilinear", antialias=True)
    return torch.cat([shrink(normalise(batch, mean, std)) for batch in _of_one_size(images)])


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(..., 3, H, W) uint8 to float32 with the given mean and standard deviation per channel."""
    shift, scale = (constant(of, images.device)[:, None, None] for of in (mean, std))
    return (images.float() - shift) / scale


def _of_one_size(images: Sequence[Tensor]) -> list[Tensor]:
    """All images as one batch where they have one size, as crops of a training do; or each."""
    if len({image.shape for image in images}) == 1:
        return [torch.stack(list(images))]
    return [image[None] for image in images]


def constant(numbers: _Numbers, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """The tensor of some numbers, copied to a device once: a copy to a GPU waits until it is idle.

    It is shared: nobody may write to it.

    Args:
        numbers: of one or two dimensions.
        device: where it lies.
        dtype: int64 for whole numbers and float32 for others, if None.
    """
    if torch.compiler.is_exporting():  # sizes are symbols then, of which nothing can be kept
        full = partial(torch.full, (), device=device, dtype=dtype)
        made = (constant(n, device, dtype) if isinstance(n, Sequence) else full(n) for n in numbers)
        return torch.stack(list(made))
    hashable = tuple(tuple(n) if isinstance(n, Sequence) else n for n in numbers)
    return _made(hashable, device, dtype)


@lru_cache(maxsize=512)
def _made(
    numbers: tuple[float | tuple[float, ...], ...], device: torch.device, dtype: torch.dtype | None
) -> Tensor:
    with torch.inference_mode(False):  # or training could not use it afterwards
        return torch.tensor(numbers, device=device, dtype=dtype)
