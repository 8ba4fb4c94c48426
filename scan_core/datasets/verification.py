"""Verification of a converted benchmark: counts, sizes, value ranges, and a class census."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scan_core.datasets.each_file import each_file
from scan_core.datasets.index import BenchmarkIndex, Sample, Split, load_index
from scan_core.errors import InputError
from scan_core.storage.images import image_size, read_label

_SHOWN_PROBLEMS = 5
_LEAST_LABELLED = 0.001  # share of a split's pixels: below it the values are not the list's


@dataclass(frozen=True)
class _Census:
    """One label map: pixels of each class and, last, without label; hash; or what is wrong."""

    pixels: NDArray[np.int64]
    sha256: str
    problem: str | None = None


def verify(index_path: Path, expected_images: Mapping[str, int], workers: int) -> dict[str, Any]:
    """Check a converted benchmark against its index.

    Args:
        index_path: `index.json`.
        expected_images: split -> number of images that it must list; skipped ones count.
        workers: processes.

    Returns:
        a report that fits into JSON: for every split the number of images, those skipped, pixels
        and images of each class, absent classes, the share of pixels without a label, and a hash
        over all label maps.

    Raises:
        InputError: a count, a size or a value is not what it must be; names the files.
    """
    index = load_index(index_path)
    problems: list[str] = []
    splits = {}
    for name in expected_images.keys() - index.splits.keys():
        problems.append(f"split '{name}' is missing; convert the benchmark with it")
    for name, split in index.splits.items():
        expected = expected_images.get(name, split.listed)
        if split.listed != expected:
            problems.append(
                f"split '{name}' lists {split.listed} images, expected {expected} "
                "(`images` of the benchmark in params.yaml)"
            )
        check = partial(_check, index, index_path.parent, split)
        found = each_file(check, split.samples, workers)
        bar = tqdm(found, desc=name, total=len(split.samples), unit="img", mininterval=5)
        splits[name] = _summary(index, split, bar, problems)
        if problem := _nothing_labelled(index, name, splits[name]):
            problems.append(problem)
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:_SHOWN_PROBLEMS])
        raise InputError(
            f"{index_path}: {len(problems)} problems:\n{shown}\n"
            f"Delete {index_path.parent} to have it converted again."
        )
    return {"name": index.name, "classes": index.classes, "splits": splits}


def _nothing_labelled(index: BenchmarkIndex, name: str, summary: Mapping[str, Any]) -> str | None:
    """What is wrong with a split in which there is nothing to learn from or to score."""
    if not summary["images"]:
        return f"split '{name}' has no image with a label"
    share = 1 - summary["ignored_share"]
    if sum(summary["pixels"].values()) == 0 or share < _LEAST_LABELLED:
        return (
            f"split '{name}': {share:.4%} of the pixels have a label; the values in the label maps "
            f"are not the 'raw_ids' of the class list {index.classes}"
        )
    return None


def _check(index: BenchmarkIndex, folder: Path, split: Split, sample: Sample) -> _Census:
    path = folder / split.label_root / sample.label
    image_path = folder / split.image_root / sample.image
    classes = len(index.names)
    nothing = np.zeros(classes + 1, np.int64)
    try:
        label = read_label(path)
        size = image_size(image_path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except InputError as error:
        return _Census(nothing, "", str(error))
    if label.dtype != np.min_scalar_type(index.ignore_label):
        return _Census(
            nothing, "", f"{path} holds {label.dtype}, expected values up to {index.ignore_label}"
        )
    if label.shape != (sample.height, sample.width) or size != (sample.width, sample.height):
        return _Census(
            nothing,
            "",
            f"{path} is {label.shape[1]}x{label.shape[0]} and {image_path} is "
            f"{size[0]}x{size[1]} pixels, expected {sample.width}x{sample.height}",
        )
    counted = np.bincount(label.ravel(), minlength=index.ignore_label + 1)
    if counted[classes : index.ignore_label].any():
        value = classes + int(np.flatnonzero(counted[classes:])[0])
        return _Census(nothing, "", f"{path}: value {value} is no class of {index.classes}")
    pixels = np.append(counted[:classes], counted[index.ignore_label])
    return _Census(pixels, digest)


def _summary(
    index: BenchmarkIndex, split: Split, found: Any, problems: list[str]
) -> dict[str, Any]:
    pixels = np.zeros(len(index.names) + 1, np.int64)
    images = np.zeros(len(index.names) + 1, np.int64)
    digest = hashlib.sha256()
    for sample, census in zip(split.samples, found, strict=True):
        if census is None:
            problems.append(f"the process that decoded {sample.label} and {sample.image} died")
            continue
        if census.problem:
            problems.append(census.problem)
        pixels += census.pixels
        images += census.pixels > 0
        digest.update(f"{sample.stem} {census.sha256}\n".encode())
    return {
        "images": len(split.samples),
        "skipped": len(split.skipped),
        "labels_sha256": digest.hexdigest(),
        "ignored_share": round(float(pixels[-1] / max(pixels.sum(), 1)), 6),
        "absent": [name for name, count in zip(index.names, images, strict=False) if not count],
        "pixels": dict(zip(index.names, pixels.tolist(), strict=False)),
        "images_with": dict(zip(index.names, images.tolist(), strict=False)),
    }
