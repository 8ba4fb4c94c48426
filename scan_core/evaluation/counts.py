"""Counts of each image by prediction and ground truth: sparse, exact, and kept in files.

The counts of N images are a sparse matrix (N, (K + 1)²) int32, whose row is an image's confusion
matrix as `count_pixels` gives it. Every metric, for any subset of the images, follows from it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter
from scipy.sparse import csr_array, vstack

from scan_core.storage.files import atomic_path, read_arrays

ImageCounts = csr_array
# Band -> the largest distance from a boundary, as a share of the image's diagonal.
BANDS = {"near": 0.005, "middle": 0.02}
_ABOUT = "about"
_PARTS = ("data", "indices", "indptr", "shape")


def bands(truth: NDArray[np.integer[Any]]) -> dict[str, NDArray[np.bool_]]:
    """(H, W): the pixels of each band, of which none is in two.

    A pixel's distance from a boundary is that to the nearest pixel of another label, or without
    ground truth, the larger of rows and columns.

    Args:
        truth: (H, W), training ids, negative without ground truth.
    """
    found: dict[str, NDArray[np.bool_]] = {}
    nearer = np.zeros(truth.shape, bool)
    for band, share in BANDS.items():
        size = 2 * max(1, round(share * np.hypot(*truth.shape))) + 1
        within = maximum_filter(truth, size) != minimum_filter(truth, size)
        found[band] = within & ~nearer
        nearer |= within
    return found


def image_counts(images: Sequence[tuple[NDArray[Any], NDArray[Any]]], classes: int) -> ImageCounts:
    """The counts of several images.

    Args:
        images: for each the cells of its confusion matrix that are not 0, as indices of the
            flattened matrix, and their pixels.
        classes: K.
    """
    ends = np.cumsum([0, *(len(cells) for cells, _ in images)])
    cells = np.concatenate([np.empty(0, np.int32), *(cells for cells, _ in images)])
    pixels = np.concatenate([np.empty(0, np.int32), *(pixels for _, pixels in images)])
    shape = (len(images), (classes + 1) ** 2)
    return csr_array((pixels.astype(np.int32), cells.astype(np.int32), ends), shape=shape)


def joined(parts: Sequence[Mapping[str, ImageCounts]]) -> dict[str, ImageCounts]:
    """The counts of several sets of images, one after the other, by the labels of the first."""
    return {label: vstack([part[label] for part in parts], format="csr") for label in parts[0]}


def confusion_matrix(counts: ImageCounts) -> NDArray[np.int64]:
    """(K + 1, K + 1): the sum over the images."""
    total = np.asarray(counts.sum(axis=0), np.int64)
    side = round(total.size**0.5)
    return total.reshape(side, side)


def save_counts(path: Path, counts: Mapping[str, ImageCounts], **about: Any) -> None:
    """Write counts by label, and what is to be known about them, to one `.npz` file, atomically."""
    arrays: dict[str, Any] = {
        f"{label}.{part}": getattr(of_label, part)
        for label, of_label in counts.items()
        for part in _PARTS
    }
    arrays[_ABOUT] = np.array(json.dumps(about))
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def load_counts(path: Path) -> tuple[dict[str, ImageCounts], dict[str, Any]]:
    """Read what `save_counts` has written: the counts by label, and what is known about them.

    Raises:
        InputError: missing or damaged.
    """
    arrays = read_arrays(path, "evaluate it again")
    about = json.loads(str(arrays.pop(_ABOUT, "{}")))
    labels = dict.fromkeys(name.rpartition(".")[0] for name in arrays)
    counts = {}
    for label in labels:
        data, indices, ends, shape = (arrays[f"{label}.{part}"] for part in _PARTS)
        counts[label] = csr_array((data, indices, ends), shape=tuple(shape))
    return counts, about
