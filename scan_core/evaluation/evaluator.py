"""Evaluation on a shard of a benchmark: many settings in one pass over the images."""

import json
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from scan_core.apps.coco_results import coco_results
from scan_core.datasets.loading import BenchmarkImages
from scan_core.evaluation.confusion import ConfusionMatrix, as_evaluated
from scan_core.evaluation.merging import CHANCE, WAYS
from scan_core.inference.class_map import class_maps
from scan_core.inference.ensemble import InferenceSettings
from scan_core.inference.image_features import ImageEvidence
from scan_core.inference.scan import Scan, with_clip_weight
from scan_core.storage.atomic import atomic_path, write_text
from scan_core.vocabulary.classes import ClassList, load_class_list

PredictionFormat = Literal["png", "coco_rle", "both"]


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
    text = {
        prompts: scan.embed(predicted.names, prompts)
        for prompts in dict.fromkeys(setting.prompts for setting in settings.values())
    }
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
    text: Mapping[str | None, Tensor],
    settings: Sequence[InferenceSettings],
    size: tuple[int, int],
) -> list[Tensor]:
    """Class maps under all settings; of several views the mean of the class scores."""
    if len(views) == 1:
        evidence = views[0][0]
        scores = [scan.score(evidence, text[setting.prompts], setting) for setting in settings]
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
        torch.cat([scan.score(view, text[setting.prompts], setting) for view, _ in views])
        for setting in settings
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
