"""From the counts of shards to the numbers of a benchmark, without a network or PyTorch at hand.

Counts are (K + 1, K + 1) int64 by prediction and ground truth, as `ConfusionMatrix.counts` gives
them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scan_core.errors import InputError
from scan_core.evaluation.metrics import SegmentationMetrics, segmentation_metrics
from scan_core.evaluation.settings_file import EvaluationSettings
from scan_core.evaluation.sg_iou import sg_metrics
from scan_core.params.classifiers import CHANCE
from scan_core.params.metric_names import METRICS
from scan_core.storage.arrays import load_arrays
from scan_core.storage.atomic import atomic_path
from scan_core.storage.records import write_record
from scan_core.vocabulary.classes import ClassList

Counts = NDArray[np.int64]
_TIMING, _SETTINGS = "__timing__", "__settings__"


@dataclass(frozen=True)
class Merged:
    """The shards of one benchmark, added up.

    Attributes:
        counts: by label: the key of settings, or `chance`.
        settings: what they were counted with.
        timing: `images` of the benchmark, and `counted` images and `seconds` of what was not
            counted before.
    """

    counts: Mapping[str, Counts]
    settings: EvaluationSettings
    timing: Mapping[str, float]

    def ways(self) -> dict[str, Counts]:
        """The counts of each way to classify, and of chance, if there are any."""
        ways = {way: self.counts[key] for way, key in self.settings.ways.items()}
        return ways | {way: self.counts[way] for way in (CHANCE,) if way in self.counts}


def save_shard(
    path: Path, counts: Mapping[str, Counts], timing: Mapping[str, float], settings: str
) -> None:
    """Write a shard's counts to one `.npz` file, atomically.

    Args:
        path: the file.
        counts: by label.
        timing: `images`, `counted`, `seconds`; see `Merged`.
        settings: of the labels, as JSON.
    """
    texts: dict[str, Any] = {
        _TIMING: np.array(json.dumps(dict(timing))),
        _SETTINGS: np.array(settings),
    }
    with atomic_path(path) as temporary:
        arrays: dict[str, Any] = dict(counts)
        np.savez_compressed(temporary, **texts, **arrays)


def save_confusion(path: Path, counts: Counts) -> None:
    """Write the counts of one setting to a `.npz` file, atomically."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, counts=counts)


def merge_shards(paths: Sequence[Path]) -> Merged:
    """Add up the shards of one benchmark.

    Raises:
        InputError: a file is missing or damaged, the shards have different settings or numbers
            of classes, or no pixel of the benchmark has ground truth.
    """
    total: dict[str, Counts] = {}
    timing = {"images": 0.0, "counted": 0.0, "seconds": 0.0}
    settings = ""
    for path in paths:
        parts: dict[str, Counts] = load_arrays(path, "evaluate it again")
        try:
            for key, value in json.loads(str(parts.pop(_TIMING))).items():
                timing[key] += value
            of_shard = str(parts.pop(_SETTINGS))
        except (ValueError, KeyError) as error:
            raise InputError(f"shard {path} cannot be read ({error}); evaluate it again") from None
        settings = settings or of_shard
        if of_shard != settings or (total and parts.keys() != total.keys()):
            raise InputError(f"shard {path} has other settings than {paths[0]}")
        if any(counts.shape != total.get(label, counts).shape for label, counts in parts.items()):
            raise InputError(f"shard {path} has another number of classes than {paths[0]}")
        total = {label: counts + total.get(label, 0) for label, counts in parts.items()}
    if not any(counts[:, :-1].any() for counts in total.values()):
        raise InputError(
            f"{', '.join(map(str, paths[:3]))}: no pixel of {timing['images']:.0f} images has "
            "ground truth, so that there is nothing to score; check the benchmark's label maps"
        )
    try:
        return Merged(total, EvaluationSettings.from_dict(json.loads(settings)), timing)
    except (ValueError, InputError) as error:
        raise InputError(f"shard {paths[0]}: its settings are damaged: {error}") from None


def numbers_of(counts: Counts, classes: ClassList) -> dict[str, float | None]:
    """Every metric of a confusion matrix by its name; fractions, None where it has no meaning."""
    plain: SegmentationMetrics = segmentation_metrics(counts)
    guided = sg_metrics(counts, classes.parents)
    flags = classes.seen or ()
    seen = plain.mean_over(number for number, flag in enumerate(flags) if flag)
    unseen = plain.mean_over(number for number, flag in enumerate(flags) if not flag)
    numbers = {
        "miou": plain.miou,
        "miou_d2_v06": plain.miou_d2_v06,
        "sg_iou": guided.miou_d2_v06,
        "miou_seen": seen[0],
        "miou_unseen": unseen[0],
        "miou_d2_v06_seen": seen[1],
        "miou_d2_v06_unseen": unseen[1],
        "fwiou": plain.fwiou,
        "macc": plain.macc,
        "pacc": plain.pacc,
    }
    return {name: None if np.isnan(numbers[name]) else numbers[name] for name in METRICS}


def write_metrics(
    path: Path,
    ways: Mapping[str, Counts],
    timing: Mapping[str, float],
    classes: ClassList,
    settings: Mapping[str, Any],
    about: Mapping[str, Any],
) -> None:
    """Write a benchmark's `metrics.json`, atomically.

    Args:
        path: the file.
        ways: counts by way to classify.
        timing: `images`, `seconds`, and `counted` images where those are fewer; see `Merged`.
        classes: of the benchmark.
        settings: of the combined model.
        about: `recipe`, `variant`, `benchmark`.
    """
    counted, seconds = timing.get("counted", timing["images"]), timing["seconds"]
    record = {
        **about,
        "classes": classes.name,
        "class_count": len(classes),
        "images": int(timing["images"]),
        "settings": dict(settings),
        "results": {way: numbers_of(of_way, classes) for way, of_way in ways.items()},
        "timing": {
            "counted_images": int(counted),
            "seconds": round(seconds, 3),
            "images_per_second": round(counted / max(seconds, 1e-9), 3),
        },
    }
    write_record(path, record)


def write_numbers(path: Path, merged: Merged, classes: ClassList) -> None:
    """Write a benchmark's `evaluation.json`: settings and metrics by the settings' key."""
    record = {
        key: {"settings": one.as_dict(), "metrics": numbers_of(merged.counts[key], classes)}
        for key, one in merged.settings.settings.items()
    }
    write_record(path, record)
