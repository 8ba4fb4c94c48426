"""Predictions of any model as files, counted against a benchmark's label maps without PyTorch.

A prediction is a label map `<stem>.png` of 8 or 16 bits for each image of the split, or all of them
are one `.json` of masks in COCO's run lengths, as detectron2 and this project write them: a list of
`{file_name, category_id, segmentation: {size, counts}}`.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scan_core.datasets.loading import BenchmarkImages
from scan_core.datasets.pairing import known_key
from scan_core.errors import InputError
from scan_core.storage.images import read_label
from scan_core.vocabulary.classes import ClassList

Ids = Literal["training", "raw"]
LabelMap = NDArray[np.integer[Any]]
_SHOWN_PROBLEMS = 5


def count_predictions(
    images: BenchmarkImages, classes: ClassList, predictions: Path, ids: Ids
) -> NDArray[np.int64]:
    """Count every pixel of a split by prediction and ground truth.

    Args:
        images: the split.
        classes: what the benchmark is scored by.
        predictions: folder of label maps, or a `.json` of masks.
        ids: what a predicted number is: the place in the class list, from 0, or the value that
            the class has in the benchmark's raw label maps.

    Returns:
        (K + 1, K + 1) int64, as `ConfusionMatrix.counts` gives them.

    Raises:
        InputError: predictions are missing, unreadable, of another size than their label map, or
            hold numbers that are no class; one message for all images.
    """
    if len(classes) != len(images.index.names):
        raise InputError(
            f"class list {classes.name} has {len(classes)} classes, the benchmark "
            f"{images.index.name} {len(images.index.names)}; name its own list with --classes"
        )
    predicted = _reader(predictions, {images.stem(number) for number in range(len(images))})
    training_id = _training_ids(classes, ids)
    side = len(classes) + 1
    counts = np.zeros(side * side, np.int64)
    problems = []
    for number in tqdm(range(len(images)), desc="images", unit="image", mininterval=5):
        truth = images.label(number)
        try:
            found = predicted(images.stem(number), truth.shape)
            if found.shape != truth.shape:
                raise InputError(_size_differs(images.stem(number), found.shape, truth.shape))
            prediction = training_id(images.stem(number), found)
        except InputError as error:
            problems.append(str(error))
            continue
        labels = np.where(truth < 0, len(classes), truth).astype(np.int64)
        counts += np.bincount((prediction * side + labels).ravel(), minlength=len(counts))
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:_SHOWN_PROBLEMS])
        more = len(problems) - _SHOWN_PROBLEMS
        raise InputError(
            f"{predictions}: {len(problems)} of {len(images)} images of {images.index.name} "
            f"cannot be scored:\n{shown}" + (f"\n  and {more} more" if more > 0 else "")
        )
    return counts.reshape(side, side)


def _reader(predictions: Path, keys: set[str]) -> Callable[[str, tuple[int, ...]], LabelMap]:
    """A function from an image's stem and size to its prediction."""
    if predictions.is_dir():

        def read(stem: str, size: tuple[int, ...]) -> LabelMap:
            path = predictions / f"{stem}.png"
            if not path.is_file():
                raise InputError(f"{path} is missing; every image of the split needs a prediction")
            label = read_label(path)
            if label.ndim != 2:
                raise InputError(
                    f"{path} has {label.shape[2]} channels; expected one, whose values are classes"
                )
            return label

        return read
    if predictions.suffix == ".json":
        return _from_masks(predictions, _masks_by_key(predictions, keys))
    raise InputError(
        f"predictions {predictions}: expected a folder of label maps <stem>.png, or a .json file "
        "of masks in COCO's run lengths"
    )


def _masks_by_key(path: Path, keys: set[str]) -> dict[str, list[Mapping[str, Any]]]:
    masks: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    try:
        for result in json.loads(path.read_text(encoding="utf-8")):
            if key := known_key(str(result["file_name"]), keys):
                masks[key].append(result)
    except OSError as error:
        raise InputError(f"predictions {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"predictions {path} are damaged ({type(error).__name__}: {error}); expected a list of "
            "{file_name, category_id, segmentation: {size, counts}}"
        ) from None
    return dict(masks)


def _from_masks(
    path: Path, masks: Mapping[str, list[Mapping[str, Any]]]
) -> Callable[[str, tuple[int, ...]], LabelMap]:
    from pycocotools import mask as coco_mask

    def read(stem: str, size: tuple[int, ...]) -> LabelMap:
        if stem not in masks:
            raise InputError(f"{path} has no mask of {stem}")
        label = np.full(size, -1, np.int32)
        for result in masks[stem]:
            try:
                covered = coco_mask.decode(result["segmentation"]).astype(bool)
                category = int(result["category_id"])
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}: a mask of {stem} is damaged ({error})") from None
            if covered.shape != size:
                raise InputError(_size_differs(stem, covered.shape, size))
            if (label[covered] >= 0).any():
                raise InputError(f"{path}: masks of {stem} overlap; a pixel needs one class")
            label[covered] = category
        if missing := int((label < 0).sum()):
            raise InputError(f"{path}: {missing} pixels of {stem} have no class; all need one")
        return label

    return read


def _size_differs(stem: str, found: tuple[int, ...], size: tuple[int, ...]) -> str:
    return (
        f"the prediction for {stem} is {found[1]}x{found[0]} pixels, its label map "
        f"{size[1]}x{size[0]}; resize what the model predicts to the size of the image"
    )


def _training_ids(classes: ClassList, ids: Ids) -> Callable[[str, LabelMap], NDArray[np.int64]]:
    """A function from a stem and the numbers predicted for it to training ids."""
    tables: dict[Ids, dict[int, int]] = {
        "training": {number: number for number in range(len(classes))},
        "raw": {raw: number for number, raw in enumerate(classes.raw_ids)},
    }
    other: Ids = "raw" if ids == "training" else "training"

    def convert(stem: str, predicted: LabelMap) -> NDArray[np.int64]:
        numbers, places = np.unique(predicted, return_inverse=True)
        table = tables[ids]
        if strangers := [int(number) for number in numbers if int(number) not in table]:
            raise InputError(
                f"{stem} is predicted to hold {strangers[0]}, which is no {ids} id of "
                f"{classes.name}{_range(table)}{_hint(numbers, tables[other], other)}"
            )
        converted = np.array([table[int(number)] for number in numbers], np.int64)
        return converted[places].reshape(predicted.shape)

    return convert


def _range(table: Mapping[int, int]) -> str:
    return f" ({min(table)} to {max(table)})"


def _hint(numbers: Iterable[int], table: Mapping[int, int], other: Ids) -> str:
    fits = all(int(number) in table for number in numbers)
    return f"; all of them are {other} ids: --ids {other}?" if fits else ""
