"""An image as the two networks that see all of it take it."""

import numpy as np
from numpy.typing import NDArray

from scan_core.apps.exported.folder import ClipPixels, Description, Pixels
from scan_core.apps.exported.interpolation import Floats, nearest_places, resize_antialiased

Bytes = NDArray[np.uint8]


def normalise(image: Bytes, pixels: Pixels) -> Floats:
    """(3, H, W) uint8 to float32, with the network's mean and standard deviation."""
    mean, std = (
        np.asarray(values, np.float32)[:, None, None] for values in (pixels.mean, pixels.std)
    )
    return (image.astype(np.float32) - mean) / std


def padded_size(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Height and width of an image with its padding."""
    height, width = (-(-side // stride) * stride for side in size)
    return height, width


def backbone_input(image: Bytes, model: Description) -> Floats:
    """(3, H, W) uint8 to (1, 3, H', W') float32, zeros right of and below the image."""
    return _padded(normalise(image, model.backbone), model.stride)[None]


def clip_view(image: Bytes, model: Description) -> Floats:
    """(3, H, W) uint8 to (1, 3, S, S) float32, the whole image for the frozen CLIP."""
    clip: ClipPixels = model.whole_image
    normalised = normalise(image, clip)
    if model.defects["nearest_padded_view"]:
        padded = _padded(normalised, model.stride)
        rows, columns = (nearest_places(side, clip.size) for side in padded.shape[1:])
        return padded[:, rows][:, :, columns][None]
    return resize_antialiased(normalised, (clip.size, clip.size))[None]


def _padded(x: Floats, stride: int) -> Floats:
    height, width = padded_size((x.shape[1], x.shape[2]), stride)
    return np.pad(x, ((0, 0), (0, height - x.shape[1]), (0, width - x.shape[2])))
