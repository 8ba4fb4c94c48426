"""From the counts of shards to the files of a benchmark's results, without PyTorch."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.evaluation.counts import (
    BANDS,
    ImageCounts,
    confusion_matrix,
    joined,
    load_counts,
    save_counts,
)
from scan_core.evaluation.cuts import cuts
from scan_core.evaluation.intervals import differences, estimate, save_resamples
from scan_core.evaluation.metrics import per_class
from scan_core.evaluation.predictions import Ids, count_predictions
from scan_core.evaluation.settings_file import EvaluationSettings
from scan_core.params.classifiers import CHANCE
from scan_core.storage.files import write_json, write_text
from scan_core.vocabulary.classes import ClassList


@dataclass(frozen=True)
class Merged:
    """The shards of one benchmark, one after the other.

    Attributes:
        counts: by the settings' key, `<key>.<band>` (see `evaluate_shard`), and `chance`.
        settings: what they were counted with.
        timing: `images` of the benchmark, those that were `counted` now, and the `seconds` of it.
    """

    counts: Mapping[str, ImageCounts]
    settings: EvaluationSettings
    timing: Mapping[str, float]

    def by_classifier(self) -> dict[str, ImageCounts]:
        """The counts of the whole model, its bands, its classifiers, and of chance, as they are."""
        keys = {**self.settings.classifiers, CHANCE: CHANCE}
        keys |= {f"combined.{band}": f"{keys['combined']}.{band}" for band in BANDS}
        return {name: self.counts[key] for name, key in keys.items() if key in self.counts}


def merge_shards(paths: Sequence[Path]) -> Merged:
    """Join the shards of one benchmark, in the order of its images.

    Raises:
        InputError: a file is missing or damaged, the shards have different settings or numbers of
            classes, or no pixel of the benchmark has ground truth.
    """
    parts, abouts = zip(*map(load_counts, paths), strict=True)
    settings = abouts[0].get("settings")
    for path, part, about in zip(paths, parts, abouts, strict=True):
        if about.get("settings") != settings or part.keys() != parts[0].keys():
            raise InputError(f"shard {path} has other settings than {paths[0]}")
        if any(one.shape[1] != parts[0][label].shape[1] for label, one in part.items()):
            raise InputError(f"shard {path} has another number of classes than {paths[0]}")
    counts = joined(parts)
    timings = [about.get("timing", {}) for about in abouts]
    timing = {key: sum(one[key] for one in timings) for key in timings[0]}
    if not any(confusion_matrix(one)[:, :-1].any() for one in counts.values()):
        raise InputError(
            f"{', '.join(map(str, paths[:3]))}: no pixel of {timing['images']:.0f} images has "
            "ground truth, so that there is nothing to score; check the benchmark's label maps"
        )
    return Merged(counts, EvaluationSettings.from_dict(settings), timing)


def write_results(
    folder: Path,
    by_classifier: Mapping[str, ImageCounts],
    timing: Mapping[str, float],
    classes: ClassList,
    settings: Mapping[str, Any],
    about: Mapping[str, Any],
) -> dict[str, float | None]:
    """Write the files of a benchmark's results, each atomically.

    `metrics.json` has `results`, their `intervals`, and `differences`, how much the whole model is
    above each classifier, all by classifier and metric; and the `cuts` of the whole model's counts.
    `counts.npz` has the counts of each image, `per_class.csv` the classes of `combined`.

    Args:
        folder: where to write.
        by_classifier: counts; and the whole model's in each band, `combined.<band>`.
        timing: see `Merged`.
        classes: of the benchmark.
        settings: of the whole model.
        about: `recipe`, `variant`, `benchmark`, and what else is to be recorded.

    Returns:
        the metrics of `combined`.
    """
    if len(classes) == 1:
        logging.warning(
            "the class list %s has one class: every prediction is right, and every metric is "
            "100 %%; add what is not of this class, such as 'background'", classes.name
        )  # fmt: skip
    whole = {name: one for name, one in by_classifier.items() if "." not in name}
    of_bands = {n.partition(".")[2]: one for n, one in by_classifier.items() if n not in whole}
    found = {name: estimate(counts, classes) for name, counts in whole.items()}
    combined = found["combined"]
    record = {
        **about,
        "classes": classes.name,
        "class_count": len(classes),
        "images": int(timing["images"]),
        "settings": dict(settings),
        "results": {name: one.metrics for name, one in found.items()},
        "intervals": {name: one.intervals() for name, one in found.items()},
        "differences": {
            name: differences(combined, one) for name, one in found.items() if one is not combined
        },
        "cuts": cuts(whole["combined"], of_bands, classes),
        "timing": {
            "counted_images": int(timing["counted"]),
            "seconds": round(timing["seconds"], 3),
            "images_per_second": round(timing["counted"] / max(timing["seconds"], 1e-9), 3),
        },
    }
    write_json(folder / "metrics.json", record)
    table = per_class(confusion_matrix(whole["combined"]), classes)
    write_text(folder / "per_class.csv", table.to_csv(index=False, float_format="%.6f"))
    save_counts(folder / "counts.npz", by_classifier)
    return combined.metrics


def write_evaluation(
    folder: Path, merged: Merged, classes: ClassList, about: Mapping[str, Any]
) -> dict[str, float | None]:
    """Write the files of `write_results`, and those of every setting.

    `evaluation.json` has by the settings' key their `settings`, `metrics`, and `intervals`;
    `resamples.npz` the metrics over the resamples, for paired differences.
    """
    record, values = {}, {}
    for key, one in merged.settings.settings.items():
        found = estimate(merged.counts[key], classes)
        numbers = {"metrics": found.metrics, "intervals": found.intervals()}
        record[key], values[key] = {"settings": one.as_dict(), **numbers}, found.values
    write_json(folder / "evaluation.json", record)
    save_resamples(folder / "resamples.npz", values)
    settings = merged.settings.table().default.as_dict()
    return write_results(folder, merged.by_classifier(), merged.timing, classes, settings, about)


def write_scores(
    images: BenchmarkImages,
    classes: ClassList,
    predictions: Path,
    ids: Ids,
    method: str,
    folder: Path,
) -> dict[str, float | None]:
    """Count predictions, and write the files of `write_results`.

    Args:
        images: the split.
        classes: see `count_predictions`.
        predictions: see `count_predictions`.
        ids: see `count_predictions`.
        method: what the model is called.
        folder: where to write.

    Returns:
        the metrics.

    Raises:
        InputError: see `count_predictions`.
    """
    start = time.perf_counter()
    counts = count_predictions(images, classes, predictions, ids)
    seconds = time.perf_counter() - start
    timing = {"images": len(images), "counted": len(images), "seconds": seconds}
    about = {"recipe": method, "variant": "predictions", "benchmark": images.index.name}
    return write_results(folder, counts, timing, classes, {}, about)
