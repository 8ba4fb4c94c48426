"""Evaluation on a shard of a benchmark: many settings in one pass over the images."""

import json
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from scan_core.command.stopping import Interrupted, stop_signals
from scan_core.datasets.loading import BenchmarkImages
from scan_core.datasets.reading_ahead import read_ahead
from scan_core.evaluation.coco_results import coco_results, image_ids
from scan_core.evaluation.confusion import ConfusionMatrix, as_evaluated
from scan_core.evaluation.unfinished import UnfinishedShard
from scan_core.inference.class_map import class_maps
from scan_core.inference.image_features import ImageFeatures
from scan_core.inference.scan import Scan
from scan_core.inference.views import ImageViews
from scan_core.params.classifiers import CHANCE
from scan_core.params.settings import TestSettings
from scan_core.storage.atomic import atomic_path, write_text
from scan_core.storage.behind import WritingBehind
from scan_core.vocabulary.classes import ClassList, load_class_list

PredictionFormat = Literal["png", "coco_rle", "both"]
_MOST_WAITING = 16  # predictions that wait to be written, in memory


@dataclass(frozen=True)
class Shard:
    """A part of a benchmark's images: every `count`-th, from `number` on."""

    number: int = 0
    count: int = 1


@torch.inference_mode()
def evaluate(
    scan: Scan,
    images: BenchmarkImages,
    classes: ClassList,
    settings: Mapping[str, TestSettings],
    shard: Shard,
    predictions: Path | None = None,
    shown: Mapping[str, str] | None = None,
    most_predictions: int | None = None,
    chance: bool = False,
    prediction_format: PredictionFormat = "png",
    unfinished: UnfinishedShard | None = None,
    workers: int = 1,
) -> tuple[dict[str, ConfusionMatrix], dict[str, float]]:
    """Count the pixels of one shard, under all settings at once.

    Args:
        scan: the model.
        images: the benchmark's images.
        classes: what it is scored by; the names of `predict_with`, if any, are predicted.
        settings: by a label of one's choice, such as their key; at least one.
        shard: which images.
        predictions: folder to write predictions to; None: none.
        shown: name of a folder or file of predictions -> the label whose predictions it holds.
        most_predictions: of how many images; None: all.
        chance: also count, as `chance`, the proposals with a random class for each.
        prediction_format: label maps `<name>/<stem>.png`; or `<name>.json`, the results of all
            images in COCO's format, with training ids; or both.
        unfinished: where counts are kept on the way, and taken from; None: nowhere.
        workers: threads that read images ahead.

    Returns:
        confusion matrices by label, and `images` and `seconds`.

    Raises:
        InputError: an unreadable image, or a label map of another size than its image.
        Interrupted: a signal to stop came; the same call continues, where counts are kept.
    """
    predicted = classes if classes.predict_with is None else load_class_list(classes.predict_with)
    text = {
        prompts: scan.embed(predicted.names, prompts)
        for prompts in dict.fromkeys(setting.prompts for setting in settings.values())
    }
    labels = [*settings, CHANCE] if chance else list(settings)
    matrices = {label: ConfusionMatrix(len(classes), scan.image_encoder.device) for label in labels}
    numbers = range(shard.number, len(images), shard.count)
    ids = image_ids([images.stem(number) for number in range(len(images))])
    shown = (shown or {}) if predictions is not None else {}
    written = 0
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in shown}
    done, before = 0, 0.0
    if unfinished is not None:
        unfinished.restore(matrices, list(results))
        done, before, results = unfinished.done, unfinished.seconds, unfinished.results or results
        written = done if most_predictions is None else min(done, most_predictions)
    start = time.perf_counter()
    # Only what can be continued is stopped in good order.
    stopping: AbstractContextManager[list[int]] = nullcontext([])
    if unfinished is not None:
        stopping = stop_signals()

    def write(number: int, name: str, array: NDArray[np.integer[Any]]) -> None:
        assert predictions is not None
        stem = images.stem(number)
        if prediction_format != "coco_rle":
            _write_prediction(predictions / name / f"{stem}.png", array)
        if prediction_format != "png":
            file_name = images.file_name(number)
            results[name] += coco_results(file_name, array, classes.names, image_id=ids[stem])

    with stopping as signals, WritingBehind(_MOST_WAITING) as writing:
        read = read_ahead(_reader(images), numbers[done:], workers)
        for number, image, truth in tqdm(
            read, "images", len(numbers), initial=done, mininterval=10
        ):
            size = (truth.shape[0], truth.shape[1])
            maps, seen = _class_maps(scan, image, settings, text, size)
            if chance:
                random = _random_scores(seen.first, len(predicted), images.stem(number))
                (maps[CHANCE],) = class_maps(seen.first.masks(), [random], size)
            found = {label: as_evaluated(maps[label], classes) for label in labels}
            for label, class_map in found.items():
                matrices[label].add(class_map, truth.to(class_map.device))
            if predictions is not None and written != most_predictions:
                for name, label in shown.items():
                    writing.submit(write, number, name, found[label].cpu().numpy())
                written += 1
            done += 1
            if unfinished is not None and (signals or unfinished.is_due()):
                writing.finish()  # of what counts as done
                spent = before + time.perf_counter() - start
                unfinished.save(done, spent, matrices, results)
            if signals:
                raise Interrupted(signals[0])
    seconds = before + time.perf_counter() - start
    if predictions is not None and prediction_format != "png":
        for name, of_name in results.items():
            write_text(predictions / f"{name}.json", json.dumps(of_name) + "\n")
    return matrices, {"images": len(numbers), "seconds": seconds}


def _reader(
    images: BenchmarkImages,
) -> Callable[[int], tuple[int, NDArray[np.uint8], Tensor]]:
    def read(number: int) -> tuple[int, NDArray[np.uint8], Tensor]:
        return number, images.image(number), torch.from_numpy(images.label(number))

    return read


def _class_maps(
    scan: Scan,
    image: NDArray[np.uint8],
    settings: Mapping[str, TestSettings],
    text: Mapping[str, Tensor],
    size: tuple[int, int],
) -> tuple[dict[str, Tensor], ImageViews]:
    """(H, W) int32 class maps by label, and what the networks saw in the first view.

    Settings with one view of the image share what the networks say.
    """
    by_view: dict[Any, list[str]] = {}
    for label, one in settings.items():
        by_view.setdefault(one.view, []).append(label)
    maps: dict[str, Tensor] = {}
    first = None
    for labels in by_view.values():
        chosen = [settings[label] for label in labels]
        (seen,) = scan.encode([image], chosen)
        scores = [scan.score(seen, text[one.prompts], one) for one in chosen]
        maps.update(zip(labels, class_maps(seen.masks(size), scores, size), strict=True))
        first = first or seen
    assert first is not None  # there are settings
    return maps, first


def _random_scores(image_features: ImageFeatures, classes: int, stem: str) -> Tensor:
    """One random class for each proposal, the same in every run."""
    generator = torch.Generator().manual_seed(zlib.crc32(stem.encode()))
    chosen = torch.randint(classes, (len(image_features.peaks),), generator=generator)
    scores = torch.nn.functional.one_hot(chosen, classes).to(image_features.peaks)
    return scores


def _write_prediction(path: Path, array: NDArray[np.integer[Any]]) -> None:
    """A label map as PNG: 8 bits where the ids fit."""
    kind = np.uint8 if array.max() < 256 else np.uint16
    with atomic_path(path) as temporary:
        Image.fromarray(array.astype(kind)).save(temporary)
