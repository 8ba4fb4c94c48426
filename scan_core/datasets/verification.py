"""Verification of a converted benchmark: counts, sizes, value ranges, and a class census."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scan_core.datasets.index import BenchmarkIndex, Sample, Split, load_index
from scan_core.datasets.reading_ahead import outcomes
from scan_core.errors import InputError, first_of
from scan_core.storage.files import file_digest
from scan_core.storage.images import image_size, read_label

_LEAST_LABELLED = 0.001  # share of a split's pixels: below it the values are not the list's
_Census = tuple[NDArray[np.int64], str]


def verify(index_path: Path, expected_images: Mapping[str, int], workers: int) -> dict[str, Any]:
    """Check a converted benchmark against its index.

    Args:
        index_path: `index.json`.
        expected_images: split -> number of images that it must list; skipped ones count.
        workers: threads.

    Returns:
        a report that fits into JSON: for every split the number of images, those skipped, pixels
        and images of each class, absent classes, the share of pixels without a label, and a hash
        over all label maps.

    Raises:
        InputError: a count, a size or a value is not what it must be; names the files.
    """
    index = load_index(index_path)
    problems = [
        f"split '{name}' is missing; convert the benchmark with it"
        for name in expected_images.keys() - index.splits.keys()
    ]
    splits = {}
    for name, split in index.splits.items():
        if split.listed != (expected := expected_images.get(name, split.listed)):
            problems.append(
                f"split '{name}' lists {split.listed} images, expected {expected} "
                "(`images` of the benchmark in params.yaml)"
            )
        census = partial(_census, index, index_path.parent, split)
        found = outcomes(census, split.samples, workers, name)
        splits[name] = _summary(index, split, found, problems)
        share = 1 - splits[name]["ignored_share"]
        if not split.samples:
            problems.append(f"split '{name}' has no image with a label")
        elif share < _LEAST_LABELLED:
            problems.append(
                f"split '{name}': {share:.4%} of the pixels have a label; the values in the label "
                f"maps are not the 'raw_ids' of the class list {index.classes}"
            )
    if problems:
        raise InputError(
            f"{index_path}: {len(problems)} problems:\n{first_of(problems)}\n"
            f"Delete {index_path.parent} to have it converted again."
        )
    return {"name": index.name, "classes": index.classes, "splits": splits}


def _census(index: BenchmarkIndex, folder: Path, split: Split, sample: Sample) -> _Census:
    """Pixels of each class and, last, without label; and the label map's hash."""
    path = folder / split.label_root / sample.label
    image_path = folder / split.image_root / sample.image
    classes = len(index.names)
    label, size = read_label(path), image_size(image_path)
    if label.dtype != np.min_scalar_type(index.ignore_label):
        raise InputError(f"{path} holds {label.dtype}, expected values up to {index.ignore_label}")
    if label.shape != (sample.height, sample.width) or size != (sample.width, sample.height):
        raise InputError(
            f"{path} is {label.shape[1]}x{label.shape[0]} and {image_path} is "
            f"{size[0]}x{size[1]} pixels, expected {sample.width}x{sample.height}"
        )
    counted = np.bincount(label.ravel(), minlength=index.ignore_label + 1)
    if counted[classes : index.ignore_label].any():
        value = classes + int(np.flatnonzero(counted[classes:])[0])
        raise InputError(f"{path}: value {value} is no class of {index.classes}")
    return np.append(counted[:classes], counted[index.ignore_label]), file_digest(path)


def _summary(
    index: BenchmarkIndex,
    split: Split,
    found: Iterable[_Census | InputError],
    problems: list[str],
) -> dict[str, Any]:
    pixels = np.zeros(len(index.names) + 1, np.int64)
    images = np.zeros(len(index.names) + 1, np.int64)
    digest = hashlib.sha256()
    for sample, outcome in zip(split.samples, found, strict=True):
        if isinstance(outcome, InputError):
            problems.append(str(outcome))
            continue
        counted, sha256 = outcome
        pixels += counted
        images += counted > 0
        digest.update(f"{sample.stem} {sha256}\n".encode())
    return {
        "images": len(split.samples),
        "skipped": len(split.skipped),
        "labels_sha256": digest.hexdigest(),
        "ignored_share": round(float(pixels[-1] / max(pixels.sum(), 1)), 6),
        "absent": [name for name, count in zip(index.names, images, strict=False) if not count],
        "pixels": dict(zip(index.names, pixels.tolist(), strict=False)),
        "images_with": dict(zip(index.names, images.tolist(), strict=False)),
    }
