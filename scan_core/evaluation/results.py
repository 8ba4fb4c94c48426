"""From the counts of shards to the files of a benchmark's results, without PyTorch."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scan_core.errors import InputError
from scan_core.evaluation.counts import ImageCounts, confusion_matrix, joined, load_counts
from scan_core.evaluation.metrics import metrics_of, per_class
from scan_core.evaluation.settings_file import EvaluationSettings
from scan_core.params.classifiers import CHANCE
from scan_core.storage.files import atomic_path, write_json, write_text
from scan_core.vocabulary.classes import ClassList


@dataclass(frozen=True)
class Merged:
    """The shards of one benchmark, one after the other.

    Attributes:
        counts: by the settings' key, and `chance`.
        settings: what they were counted with.
        timing: `images` of the benchmark, those that were `counted` now, and the `seconds` of it.
    """

    counts: Mapping[str, ImageCounts]
    settings: EvaluationSettings
    timing: Mapping[str, float]

    def by_classifier(self) -> dict[str, ImageCounts]:
        """The counts of the whole model, of its classifiers, and of chance, if there are any."""
        keys = {**self.settings.classifiers, CHANCE: CHANCE}
        return {name: self.counts[key] for name, key in keys.items() if key in self.counts}


def merge_shards(paths: Sequence[Path]) -> Merged:
    """Join the shards of one benchmark, in the order of its images.

    Raises:
        InputError: a file is missing or damaged, the shards have different settings or numbers of
            classes, or no pixel of the benchmark has ground truth.
    """
    parts, timings, texts = [], [], []
    for path in paths:
        counts, about = load_counts(path)
        parts.append(counts)
        timings.append(about.get("timing", {}))
        texts.append(about.get("settings"))
        if texts[-1] != texts[0] or counts.keys() != parts[0].keys():
            raise InputError(f"shard {path} has other settings than {paths[0]}")
        if any(one.shape[1] != parts[0][label].shape[1] for label, one in counts.items()):
            raise InputError(f"shard {path} has another number of classes than {paths[0]}")
    counts = joined(parts)
    timing = {key: sum(one[key] for one in timings) for key in timings[0]}
    if not any(confusion_matrix(one)[:, :-1].any() for one in counts.values()):
        raise InputError(
            f"{', '.join(map(str, paths[:3]))}: no pixel of {timing['images']:.0f} images has "
            "ground truth, so that there is nothing to score; check the benchmark's label maps"
        )
    return Merged(counts, EvaluationSettings.from_dict(texts[0]), timing)


def write_results(
    folder: Path,
    by_classifier: Mapping[str, ImageCounts],
    timing: Mapping[str, float],
    classes: ClassList,
    settings: Mapping[str, Any],
    about: Mapping[str, Any],
) -> dict[str, float | None]:
    """Write `metrics.json`, `per_class.csv` and `confusion.npz` of a benchmark, each atomically.

    Args:
        folder: where to write.
        by_classifier: counts; `per_class.csv` and `confusion.npz` are of `combined`.
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
    results = {name: metrics_of(counts, classes) for name, counts in by_classifier.items()}
    record = {
        **about,
        "classes": classes.name,
        "class_count": len(classes),
        "images": int(timing["images"]),
        "settings": dict(settings),
        "results": results,
        "timing": {
            "counted_images": int(timing["counted"]),
            "seconds": round(timing["seconds"], 3),
            "images_per_second": round(timing["counted"] / max(timing["seconds"], 1e-9), 3),
        },
    }
    confusion = confusion_matrix(by_classifier["combined"])
    write_json(folder / "metrics.json", record)
    table = per_class(confusion, classes)
    write_text(folder / "per_class.csv", table.to_csv(index=False, float_format="%.6f"))
    with atomic_path(folder / "confusion.npz") as temporary:
        np.savez_compressed(temporary, counts=confusion)
    return results["combined"]


def write_evaluation(
    folder: Path, merged: Merged, classes: ClassList, about: Mapping[str, Any]
) -> dict[str, float | None]:
    """Write the files of `write_results`, and `evaluation.json`: every setting by its key."""
    record = {
        key: {"settings": one.as_dict(), "metrics": metrics_of(merged.counts[key], classes)}
        for key, one in merged.settings.settings.items()
    }
    write_json(folder / "evaluation.json", record)
    settings = merged.settings.table().default.as_dict()
    return write_results(folder, merged.by_classifier(), merged.timing, classes, settings, about)
