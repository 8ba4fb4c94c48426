"""Masked crops as CLIP takes them, and the random numbers of contextual shift."""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scan_core.apps.exported.folder import ClipPixels
from scan_core.apps.exported.interpolation import Floats, nearest_places, resize_bicubic
from scan_core.apps.exported.views import Bytes, normalise

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Crops:
    """The crops of an image's N masks that have a pixel.

    Attributes:
        queries: (N,) int64, which proposals they are, increasing.
        images: (N, 3, S, S) float32, normalised for CLIP.
        masks: (N, S, S) bool, the foreground.
    """

    queries: NDArray[np.int64]
    images: Floats
    masks: Bools


def masked_crops(image: Bytes, masks: Bools, clip: ClipPixels, expansion: float) -> Crops:
    """Cut out every mask that has a pixel; see `scan_core.models.crops`.

    Args:
        image: (3, H, W) uint8.
        masks: (Q, H, W).
        clip: how CLIP takes the crops.
        expansion: of the masks' boxes.
    """
    queries = np.flatnonzero(masks.any(axis=(1, 2)))
    pixels = normalise(image, clip)
    size = clip.size
    images = np.empty((len(queries), 3, size, size), np.float32)
    crop_masks = np.empty((len(queries), size, size), np.bool_)
    for index, query in enumerate(queries):
        rows, columns = (_expanded(masks[query].any(axis=axis), expansion) for axis in (1, 0))
        mask = masks[query, rows, columns]
        images[index] = resize_bicubic(pixels[:, rows, columns] * mask, (size, size))
        places = [nearest_places(side, size) for side in mask.shape]
        crop_masks[index] = mask[np.ix_(*places)]
    return Crops(queries, images, crop_masks)


def _expanded(occupied: Bools, factor: float) -> slice:
    """The extent of a mask along an axis, with its surroundings."""
    places = np.flatnonzero(occupied)
    start, end = int(places[0]), int(places[-1]) + 1
    margin = int(np.rint(np.float32(end - start) * np.float32((factor - 1) / 2)))
    return slice(max(start - margin, 0), min(end + margin, len(occupied)))


def pixel_key(image: Bytes) -> int:
    """A number that identifies an image by its pixels, (3, H, W)."""
    return zlib.crc32(image.tobytes())


def draw_keys(seed: int, image_key: int, layer: int, crops: int, tokens: int) -> Floats:
    """The numbers of `scan_core.models.contextual_shift.draw_keys`, to the last bit.

    PyTorch's generator is the Mersenne Twister, whose states NumPy's old generator shares; it
    keeps the lowest 24 of 32 bits.
    """
    name = f"contextual shift/{seed}/{image_key}/{layer}".encode()
    twister = np.random.RandomState(zlib.crc32(name))
    drawn = twister.randint(0, 2**32, size=(crops, tokens), dtype=np.uint32)
    return (drawn & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)
