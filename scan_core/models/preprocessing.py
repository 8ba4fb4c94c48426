"""Images as the networks take them: read, resized, normalised, padded."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from scan_core.models import proposal_network
from scan_core.models.clip_towers import ClipInput
from scan_core.models.constants import constant
from scan_core.storage.images import ImageLike as ImageLike  # a part of this module's interface
from scan_core.storage.images import read_image as read_image


def resized_shape(height: int, width: int, short_side: int, longest_side: int) -> tuple[int, int]:
    """Height and width after resizing by the rule of the field (detectron2's).

    Args:
        height: pixels.
        width: pixels.
        short_side: the shorter side's length after resizing, pixels,
        longest_side: unless the longer one would exceed this, pixels.
    """
    scale = short_side / min(height, width)
    new_height, new_width = height * scale, width * scale
    if height <= width:
        new_height = short_side
    else:
        new_width = short_side
    if max(new_height, new_width) > longest_side:
        shrink = longest_side / max(new_height, new_width)
        new_height, new_width = new_height * shrink, new_width * shrink
    return max(1, int(new_height + 0.5)), max(1, int(new_width + 0.5))


def resize(image: NDArray[np.uint8], short_side: int, longest_side: int) -> Tensor:
    """Resize for the networks, with Pillow's bilinear filter.

    Args:
        image: (H, W, 3) uint8, RGB.
        short_side: see `resized_shape`.
        longest_side: see `resized_shape`.

    Returns:
        (3, H', W') uint8.
    """
    height, width = resized_shape(image.shape[0], image.shape[1], short_side, longest_side)
    if (height, width) != image.shape[:2]:
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        image = np.asarray(resized)
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def padded_size(images: Sequence[Tensor]) -> tuple[int, int]:
    """The smallest height and width, multiples of 32, that hold all of some (3, H, W) images."""
    stride = proposal_network.STRIDE
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    return -(-height // stride) * stride, -(-width // stride) * stride


def backbone_input(images: Sequence[Tensor]) -> Tensor:
    """Normalise and pad to one size.

    Args:
        images: B of (3, H, W) uint8, on one device.

    Returns:
        (B, 3, H', W') float32; zeros right of and below each image.
    """
    return _normalised_and_padded(images, proposal_network.PIXEL_MEAN, proposal_network.PIXEL_STD)


def clip_view(images: Sequence[Tensor], clip_input: ClipInput, as_released: bool) -> Tensor:
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
        padded = _normalised_and_padded(images, mean, std)
        return F.interpolate(padded, (size, size), mode="nearest")
    return torch.cat(
        [
            F.interpolate(
                normalise(batch, mean, std),
                (size, size),
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )
            for batch in _of_one_size(images)
        ]
    )


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(..., 3, H, W) uint8 to float32 with the given mean and standard deviation per channel."""
    channels = (-1, 1, 1)
    shift = constant(mean, images.device).view(channels)
    scale = constant(std, images.device).view(channels)
    return (images.float() - shift) / scale


def _normalised_and_padded(
    images: Sequence[Tensor], mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    height, width = padded_size(images)
    return torch.cat(
        [
            F.pad(
                normalise(batch, mean, std),
                (0, width - batch.shape[3], 0, height - batch.shape[2]),
            )
            for batch in _of_one_size(images)
        ]
    )


def _of_one_size(images: Sequence[Tensor]) -> list[Tensor]:
    """All images as one batch where they have one size, as crops of a training do; or each."""
    if len({image.shape for image in images}) == 1:
        return [torch.stack(list(images))]
    return [image[None] for image in images]
