"""Predictions as files: written in the formats of the field, and scored without PyTorch.

Predictions are a label map `<stem>.png` of 8 or 16 bits for each image of a split, or one `.json`
of all in COCO's format of results, as detectron2 and this project write it: a list of
`{file_name, category_id, segmentation: {size, counts}}`.
"""

import json
import logging
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scan_core.datasets.loading import BenchmarkImages
from scan_core.datasets.pairing import known_key
from scan_core.errors import InputError
from scan_core.evaluation.counts import ImageCounts, bands, confusion_matrix, image_counts
from scan_core.storage.files import readable, write_text
from scan_core.storage.images import read_label
from scan_core.vocabulary.classes import ClassList

Ids = Literal["training", "raw"]
LabelMap = NDArray[np.integer[Any]]
Reader = Callable[[str, tuple[int, ...]], LabelMap]
_SHOWN_PROBLEMS = 5
_MASK = "{size, counts}"


def image_ids(stems: Sequence[str]) -> dict[str, int | str]:
    """The `image_id` of each image of a set: its name as a number, as COCO's are.

    Where that would be the same for two of them, such as 1 and 001, all keep their names.
    """
    ids: dict[str, int | str] = {s: int(s) if s.isdecimal() else s for s in stems}
    return ids if len({*ids.values()}) == len(ids) else {stem: stem for stem in stems}


def coco_results(
    file_name: str,
    class_map: NDArray[np.integer[Any]],
    names: Sequence[str],
    scores: Mapping[int, float] | None = None,
    image_id: int | str | None = None,
) -> list[dict[str, Any]]:
    """The classes of one image, the largest first, as `pycocotools` reads them.

    Args:
        file_name: of the image.
        class_map: (H, W), an index of `names` for every pixel; negative: none.
        names: of the classes.
        scores: of the classes that are there; None: the results have no `score`.
        image_id: see `image_ids`; None: the file's stem, as a number where it is one.
    """
    from pycocotools import mask as coco_mask

    if image_id is None:
        (image_id,) = image_ids([PurePath(file_name).stem]).values()
    ids, areas = np.unique(class_map[class_map >= 0], return_counts=True)
    results = []
    for position in np.argsort(-areas, kind="stable"):
        class_id = int(ids[position])
        encoded = coco_mask.encode(np.asfortranarray(class_map == class_id, dtype=np.uint8))
        result: dict[str, Any] = {
            "image_id": image_id,
            "file_name": file_name,
            "category_id": class_id,
            "category": names[class_id],
            "area": int(areas[position]),
            "segmentation": {
                "size": [int(side) for side in encoded["size"]],
                "counts": encoded["counts"].decode("ascii"),
            },
        }
        if scores is not None:
            result["score"] = round(scores[class_id], 4)
        results.append(result)
    return results


def export_predictions(
    folder: Path,
    label_maps: Mapping[str, Path],
    images: BenchmarkImages,
    numbers: Iterable[int],
    classes: ClassList,
    form: Literal["png", "coco_rle", "both"],
) -> None:
    """Write predictions by name: label maps `<name>/<stem>.png`, COCO's `<name>.json`, or both.

    Args:
        folder: to write to.
        label_maps: by name the folder of `<stem>.png`.
        images: what was predicted.
        numbers: of these images.
        classes: of the ids in the label maps.
        form: what to write.
    """
    ids = image_ids([images.stem(number) for number in range(len(images))])
    for name, source in label_maps.items():
        results = []
        for stem, file_name in ((images.stem(n), images.file_name(n)) for n in numbers):
            if form != "coco_rle":
                target = folder / name / f"{stem}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / f"{stem}.png", target)
            if form != "png":
                label_map = read_label(source / f"{stem}.png")
                results += coco_results(file_name, label_map, classes.names, image_id=ids[stem])
        if form != "png":
            write_text(folder / f"{name}.json", json.dumps(results) + "\n")


def count_predictions(
    images: BenchmarkImages, classes: ClassList, predictions: Path, ids: Ids
) -> dict[str, ImageCounts]:
    """Count every pixel of a split by prediction and ground truth.

    Args:
        images: the split.
        classes: what the benchmark is scored by.
        predictions: folder of label maps, or a `.json` of masks.
        ids: what a predicted number is: the place in the class list, from 0, or the value that
            the class has in the benchmark's raw label maps.

    Returns:
        `combined`, and as `combined.<band>` the pixels in each of `counts.BANDS`.

    Raises:
        InputError: predictions are missing, unreadable, of another size than their label map, or
            hold numbers that are no class; one message for all images.
    """
    if len(classes) != len(images.index.names):
        raise InputError(
            f"class list {classes.name} has {len(classes)} classes, the benchmark "
            f"{images.index.name} {len(images.index.names)}; name its own list with --classes"
        )
    stems = [images.stem(number) for number in range(len(images))]
    predicted = _reader(predictions, stems)
    training_ids = _training_ids(classes, ids)
    side = len(classes) + 1
    rows: dict[str, list[Any]] = defaultdict(list)
    problems = []
    for number, stem in enumerate(tqdm(stems, desc="images", unit="image", mininterval=5)):
        truth = images.label(number)
        try:
            found = predicted(stem, truth.shape)
            _check_size(stem, found.shape, truth.shape)
            prediction = training_ids(stem, found)
        except InputError as error:
            problems.append(str(error))
            continue
        labels = np.where(truth < 0, len(classes), truth).astype(np.int64)
        cells = prediction * side + labels
        chosen = {f"combined.{band}": cells[inside] for band, inside in bands(truth).items()}
        for label, of_label in {"combined": cells, **chosen}.items():
            rows[label].append(np.unique(of_label, return_counts=True))
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:_SHOWN_PROBLEMS])
        more = len(problems) - _SHOWN_PROBLEMS
        raise InputError(
            f"{predictions}: {len(problems)} of {len(images)} images of {images.index.name} "
            f"cannot be scored:\n{shown}" + (f"\n  and {more} more" if more > 0 else "")
        )
    counts = {label: image_counts(of_label, len(classes)) for label, of_label in rows.items()}
    confusion = confusion_matrix(counts["combined"])
    if not confusion[0].any() and confusion.trace(-1) > confusion.trace():
        logging.warning(
            "%s: no pixel is predicted as id 0, '%s', and more pixels would be right if every id "
            "were one lower: the ids seem to be counted from 1, where the first class has 0",
            predictions,
            classes.names[0],
        )
    return counts


def _reader(predictions: Path, stems: Iterable[str]) -> Reader:
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
        return _mask_reader(predictions, {*stems})
    raise InputError(
        f"predictions {predictions}: expected a folder of label maps <stem>.png, or a .json file "
        "of masks in COCO's run lengths"
    )


def _mask_reader(path: Path, stems: set[str]) -> Reader:
    masks: dict[str | None, list[Mapping[str, Any]]] = defaultdict(list)
    with readable(path, f"expected a list of {{file_name, category_id, segmentation: {_MASK}}}"):
        for result in json.loads(path.read_text(encoding="utf-8-sig")):
            masks[known_key(str(result["file_name"]), stems)].append(result)

    def read(stem: str, size: tuple[int, ...]) -> LabelMap:
        if stem not in masks:
            raise InputError(f"{path} has no mask of {stem}")
        label = np.full(size, -1, np.int32)
        for result in masks[stem]:
            with readable(path, f"expected {_MASK} of {stem}, run lengths as COCO has them"):
                covered = _decoded(stem, result["segmentation"], size)
                if (label[covered] >= 0).any():
                    raise InputError(f"{path}: masks of {stem} overlap; a pixel needs one class")
                label[covered] = int(result["category_id"])
        if missing := int((label < 0).sum()):
            raise InputError(f"{path}: {missing} pixels of {stem} have no class; all need one")
        return label

    return read


def _decoded(
    stem: str, segmentation: Mapping[str, Any], size: tuple[int, ...]
) -> NDArray[np.bool_]:
    """(H, W): a mask from run lengths, as a list, as COCO's crowds have them, or compressed."""
    counts = segmentation["counts"]
    _check_size(stem, tuple(map(int, segmentation["size"])), size)
    runs = counts if isinstance(counts, list) else _run_lengths(counts.encode())
    if sum(runs) != size[0] * size[1]:
        raise ValueError(f"its run lengths are of {sum(runs)} pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size, order="F")


def _run_lengths(counts: bytes) -> list[int]:
    """COCO's compressed run lengths: five bits a letter, differences from the last run but one.

    `pycocotools` takes those of too few pixels, and leaves the others as its memory was.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in counts:
        bits = letter - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << shift - 4  # the sign
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def _check_size(stem: str, found: tuple[int, ...], size: tuple[int, ...]) -> None:
    if found != size:
        raise InputError(
            f"the prediction for {stem} is {found[1]}x{found[0]} pixels, its label map "
            f"{size[1]}x{size[0]}; resize what the model predicts to the size of the image"
        )


def _training_ids(classes: ClassList, ids: Ids) -> Callable[[str, LabelMap], NDArray[np.int64]]:
    """A function from a stem and the numbers predicted for it to training ids."""
    tables: dict[Ids, dict[int, int]] = {
        "training": {number: number for number in range(len(classes))},
        "raw": {raw: number for number, raw in enumerate(classes.raw_ids)},
    }
    table = tables[ids]
    other: Ids = "raw" if ids == "training" else "training"

    def convert(stem: str, predicted: LabelMap) -> NDArray[np.int64]:
        numbers, places = np.unique(predicted, return_inverse=True)
        if unknown := [int(number) for number in numbers if int(number) not in table]:
            hint = ""
            if all(int(number) in tables[other] for number in numbers):
                hint = f"; all of them are {other} ids: --ids {other}?"
            elif all(int(number) - 1 in table for number in numbers):
                hint = "; are the ids counted from 1? The first class has 0"
            raise InputError(
                f"{stem} is predicted to hold {unknown[0]}, which is no {ids} id of "
                f"{classes.name} ({min(table)} to {max(table)}){hint}"
            )
        converted = np.array([table[int(number)] for number in numbers], np.int64)
        return converted[places].reshape(predicted.shape)

    return convert
