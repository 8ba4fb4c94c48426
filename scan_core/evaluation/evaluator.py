"""Evaluation on a benchmark: many settings in one pass over the images, sharded and merged."""

import json
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from scan_core.atomic import atomic_path, write_text
from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.evaluation.confusion import ConfusionMatrix, as_evaluated
from scan_core.evaluation.metrics import SegmentationMetrics, segmentation_metrics
from scan_core.evaluation.sg_iou import sg_metrics
from scan_core.inference.class_map import class_maps
from scan_core.inference.coco_results import coco_results
from scan_core.inference.ensemble import InferenceSettings
from scan_core.inference.evidence import ImageEvidence
from scan_core.inference.scan import Scan, with_clip_weight
from scan_core.vocabulary.classes import ClassList, load_class_list

PredictionFormat = Literal["png", "coco_rle", "both"]
WAYS = ("combined", "in_vocabulary", "clip_only")
CHANCE = "chance"


@dataclass(frozen=True)
class Shard:
    """A part of a benchmark's images: every `count`-th, from `number` on."""

    number: int = 0
    count: int = 1


def ways_to_classify(settings: InferenceSettings) -> dict[str, InferenceSettings]:
    """The model as a whole, and each of its two classifiers alone."""
    weights = (settings.clip_weight, 0.0, 1.0)
    return {w: with_clip_weight(settings, v) for w, v in zip(WAYS, weights, strict=True)}


@torch.inference_mode()
def evaluate(
    scan: Scan,
    images: BenchmarkImages,
    classes: ClassList,
    settings: Mapping[str, InferenceSettings],
    shard: Shard,
    predictions: Path | None = None,
    most_predictions: int | None = None,
    chance: bool = False,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    prediction_format: PredictionFormat = "png",
) -> tuple[dict[str, ConfusionMatrix], dict[str, float]]:
    """Count the pixels of one shard, under all settings at once.

    Args:
        scan: the model.
        images: the benchmark's images.
        classes: what it is scored by; the names of `predict_with`, if any, are predicted.
        settings: by a label of one's choice.
        shard: which images.
        predictions: folder to write what each way to classify predicts to; None: none.
        most_predictions: of how many images; None: all.
        chance: also count, as `chance`, the right masks with a random class for each.
        flip: test-time augmentation: also the mirror image.
        scales: test-time augmentation: of the resized image.
        prediction_format: label maps `<way>/<stem>.png`; or `<way>.json`, the results of all
            images in COCO's format, with training ids; or both.

    Returns:
        confusion matrices by label, and `images` and `seconds`.

    Raises:
        InputError: an unreadable image, or a label map of another size than its image.
    """
    predicted = classes if classes.predict_with is None else load_class_list(classes.predict_with)
    text = scan.embed(predicted.names)
    labels = [*settings, CHANCE] if chance else list(settings)
    matrices = {label: ConfusionMatrix(len(classes), scan.observer.device) for label in labels}
    numbers = range(shard.number, len(images), shard.count)
    if predictions is not None:
        predictions.mkdir(parents=True, exist_ok=True)
    written = 0
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS if way in settings}
    start = time.perf_counter()
    for number in tqdm(numbers, desc="images", mininterval=10):
        image, truth = images.image(number), torch.from_numpy(images.label(number))
        size = (truth.shape[0], truth.shape[1])
        views = _views(scan, image, list(settings.values()), flip, scales)
        maps = _class_maps(scan, views, text, list(settings.values()), size)
        if chance:
            random = _random_scores(views[0][0], len(predicted), images.stem(number))
            maps += class_maps(views[0][0].masks(), [random], size)
        for label, class_map in zip(labels, maps, strict=True):
            found = as_evaluated(class_map, classes)
            matrices[label].add(found, truth.to(found.device))
            if predictions is None or label not in WAYS or written == most_predictions:
                continue
            array = found.cpu().numpy()
            if prediction_format != "coco_rle":
                _write_prediction(predictions / label / f"{images.stem(number)}.png", array)
            if prediction_format != "png":
                results[label] += coco_results(images.file_name(number), array, classes.names)
        written += written != most_predictions
    seconds = time.perf_counter() - start
    if predictions is not None and prediction_format != "png":
        for way, found_by_it in results.items():
            write_text(predictions / f"{way}.json", json.dumps(found_by_it) + "\n")
    return matrices, {"images": len(numbers), "seconds": seconds}


View = tuple[ImageEvidence, bool]


def _views(
    scan: Scan,
    image: np.ndarray[Any, np.dtype[np.uint8]],
    settings: Sequence[InferenceSettings],
    flip: bool,
    scales: Sequence[float],
) -> list[View]:
    """What the networks see of an image, and whether it was mirrored."""
    views = []
    for scale in scales:
        for mirrored in (False, True) if flip else (False,):
            shown = np.ascontiguousarray(image[:, ::-1]) if mirrored else image
            (evidence,) = scan.observe([shown], settings, scale)
            views.append((evidence, mirrored))
    return views


def _class_maps(
    scan: Scan,
    views: Sequence[View],
    text: Tensor,
    settings: Sequence[InferenceSettings],
    size: tuple[int, int],
) -> list[Tensor]:
    """Class maps under all settings; of several views the mean of the class scores."""
    if len(views) == 1:
        evidence = views[0][0]
        scores = [scan.score(evidence, text, setting) for setting in settings]
        return class_maps(evidence.masks(), scores, size)
    # Masks of all views side by side: their weighted sum is the mean over the views.
    masks = torch.cat(
        [
            torch.nn.functional.interpolate(
                (view.masks().flip(2) if mirrored else view.masks())[None],
                size,
                mode="bilinear",
                align_corners=False,
            )[0]
            for view, mirrored in views
        ]
    )
    scores = [
        torch.cat([scan.score(view, text, setting) for view, _ in views]) for setting in settings
    ]
    return class_maps(masks, scores, size)


def _random_scores(evidence: ImageEvidence, classes: int, stem: str) -> Tensor:
    """One random class for each proposal, the same in every run."""
    generator = torch.Generator().manual_seed(zlib.crc32(stem.encode()))
    chosen = torch.randint(classes, (len(evidence.peaks),), generator=generator)
    scores = torch.nn.functional.one_hot(chosen, classes).to(evidence.peaks)
    return scores


def _write_prediction(path: Path, array: NDArray[np.integer[Any]]) -> None:
    """A label map as PNG: 8 bits where the ids fit."""
    kind = np.uint8 if array.max() < 256 else np.uint16
    with atomic_path(path) as temporary:
        Image.fromarray(array.astype(kind)).save(temporary)


def save_shard(
    path: Path, matrices: Mapping[str, ConfusionMatrix], timing: Mapping[str, float]
) -> None:
    """Write a shard's counts to one `.npz` file, atomically."""
    with atomic_path(path) as temporary:
        arrays: dict[str, Any] = {label: matrix.counts() for label, matrix in matrices.items()}
        np.savez_compressed(temporary, __timing__=np.array(json.dumps(dict(timing))), **arrays)


def merge_shards(paths: Sequence[Path]) -> tuple[dict[str, ConfusionMatrix], dict[str, float]]:
    """Add up the shards of one benchmark.

    Returns:
        confusion matrices by label, and the sums of `images` and `seconds`.

    Raises:
        InputError: a file is missing or damaged, or the shards have different labels.
    """
    total: dict[str, ConfusionMatrix] = {}
    timing = {"images": 0.0, "seconds": 0.0}
    for path in paths:
        try:
            with np.load(path) as file:
                parts = {name: file[name] for name in file.files}
            for key, value in json.loads(str(parts.pop("__timing__"))).items():
                timing[key] += value
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise InputError(f"shard {path} cannot be read ({error}); evaluate it again") from None
        if total and parts.keys() != total.keys():
            raise InputError(f"shard {path} has other settings than {paths[0]}")
        for label, counts in parts.items():
            matrix = ConfusionMatrix.from_counts(counts)
            if label in total:
                total[label].merge([matrix])
            else:
                total[label] = matrix
    return total, timing


def numbers_of(matrix: ConfusionMatrix, classes: ClassList) -> dict[str, float | None]:
    """Every metric of a confusion matrix by its name; fractions, None where it has no meaning."""
    counts = matrix.counts()
    plain: SegmentationMetrics = segmentation_metrics(counts)
    guided = sg_metrics(counts, classes.fathers)
    seen = classes.seen or ()
    numbers = {
        "miou": plain.miou,
        "miou_d2_v06": plain.miou_d2_v06,
        "fwiou": plain.fwiou,
        "macc": plain.macc,
        "pacc": plain.pacc,
        "sg_iou": guided.miou_d2_v06,
        "miou_seen": plain.mean_over(i for i, s in enumerate(seen) if s),
        "miou_unseen": plain.mean_over(i for i, s in enumerate(seen) if not s),
    }
    return {name: None if np.isnan(value) else value for name, value in numbers.items()}


def write_metrics(
    path: Path,
    matrices: Mapping[str, ConfusionMatrix],
    timing: Mapping[str, float],
    classes: ClassList,
    settings: InferenceSettings,
    about: Mapping[str, Any],
) -> None:
    """Write a benchmark's `metrics.json`, atomically.

    Args:
        path: the file.
        matrices: by way to classify.
        timing: sums over the shards.
        classes: of the benchmark.
        settings: of the combined model.
        about: `recipe`, `variant`, `benchmark`.
    """
    record = {
        **about,
        "classes": classes.name,
        "class_count": len(classes),
        "images": int(timing["images"]),
        "settings": asdict(settings),
        "results": {label: numbers_of(matrix, classes) for label, matrix in matrices.items()},
        "timing": {
            "seconds": round(timing["seconds"], 3),
            "images_per_second": round(timing["images"] / max(timing["seconds"], 1e-9), 3),
        },
    }
    write_text(path, json.dumps(record, indent=1) + "\n")
