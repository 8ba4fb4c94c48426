"""Pieces of scenes under masks that are not quite right, as a segmenter's proposals are."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scan_core.datasets.miniworld.scenes import Scene

# Proposals are made at a quarter of the image's side.
_STRIDE = 4
_SMALLEST_SEGMENT = 30  # pixels
_EXPANSION = (1.0, 1.8)
_WORST_IOU = 0.5

# CLIP's mean colour: zero, once a picture is normalised.
MEAN_COLOR = (123, 117, 104)


def cutout(rng: np.random.Generator, scene: Scene, size: int) -> tuple[NDArray[np.uint8], int]:
    """One segment of a scene under an imperfect mask, its surroundings hidden.

    The box is the mask's, up to 1.8 times as wide and high; it is resized without keeping the
    aspect ratio and without antialiasing, as `masked_crops` shows proposals to CLIP.

    Args:
        rng: decides.
        scene: of which some segment has 30 pixels.
        size: side, pixels.

    Returns:
        (size, size, 3) uint8, and the concept of the segment.
    """
    concepts, counts = np.unique(scene.concepts, return_counts=True)
    concept = int(rng.choice(concepts[counts >= _SMALLEST_SEGMENT]))
    mask = imperfect(rng, scene.concepts == concept)
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    margin = (rng.uniform(*_EXPANSION) - 1) / 2
    down, across = round(margin * (bottom - top)), round(margin * (right - left))
    height, width = mask.shape
    start = max(left - across, 0), max(top - down, 0)
    end = min(right + across, width), min(bottom + down, height)
    shown = np.where(mask[..., None], scene.pixels, np.array(MEAN_COLOR, np.uint8))
    # Unlike `resize`, which is always antialiased.
    piece = Image.fromarray(shown).transform(
        (size, size), Image.Transform.EXTENT, (*start, *end), Image.Resampling.BICUBIC
    )
    return np.asarray(piece), concept


def imperfect(rng: np.random.Generator, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask as a segmenter might propose it: coarse, wavy, sometimes with a part cut off.

    Args:
        rng: decides.
        mask: (H, W), the true one, not empty.

    Returns:
        (H, W), with an IoU of 0.5 or more with the true one.
    """
    height, width = mask.shape
    coarse = (max(2, width // _STRIDE), max(2, height // _STRIDE))
    soft = Image.fromarray(mask.astype(np.float32)).resize(coarse, Image.Resampling.BILINEAR)
    level = np.asarray(soft) - 0.5
    level = level + _waves(rng, level.shape, 5) * rng.uniform(0, 0.7)
    level = level + rng.standard_normal(level.shape, dtype=np.float32) * rng.uniform(0, 0.2)
    if rng.random() < 0.25:
        level = np.where(_half(rng, mask, level.shape), level, -1)
    guess = Image.fromarray(level.astype(np.float32)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    proposed = np.asarray(guess) > 0
    union = (proposed | mask).sum()
    if (proposed & mask).sum() < _WORST_IOU * union:
        return mask
    return proposed


def _waves(rng: np.random.Generator, shape: tuple[int, ...], cells: int) -> NDArray[np.float32]:
    """Smooth noise of mean zero and deviation one half or so."""
    grid = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(grid.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)) * np.float32(0.6)


def _half(
    rng: np.random.Generator, mask: NDArray[np.bool_], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """All but up to two fifths of a mask, on one side of a straight line."""
    rows, columns = np.nonzero(mask)
    angle = rng.uniform(0, 2 * np.pi)
    along = rows * np.sin(angle) + columns * np.cos(angle)
    limit = np.quantile(along, rng.uniform(0.6, 0.9))
    scale_y, scale_x = mask.shape[0] / shape[0], mask.shape[1] / shape[1]
    y = (np.arange(shape[0])[:, None] + 0.5) * scale_y
    x = (np.arange(shape[1])[None] + 0.5) * scale_x
    return np.asarray(y * np.sin(angle) + x * np.cos(angle) <= limit)
