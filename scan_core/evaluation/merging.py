"""From the counts of shards to the numbers of a benchmark, without a network or PyTorch at hand.

Counts are (K + 1, K + 1) int64 by prediction and ground truth, as `ConfusionMatrix.counts` gives
them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from scan_core.errors import InputError
from scan_core.evaluation.metrics import SegmentationMetrics, segmentation_metrics
from scan_core.evaluation.sg_iou import sg_metrics
from scan_core.storage.atomic import atomic_path, write_text
from scan_core.vocabulary.classes import ClassList

Counts = NDArray[np.int64]
# The model as a whole, and each of its two classifiers alone.
WAYS = ("combined", "in_vocabulary", "clip_only")
# The right masks with a random class for each.
CHANCE = "chance"


def save_shard(path: Path, counts: Mapping[str, Counts], timing: Mapping[str, float]) -> None:
    """Write a shard's counts, by label, to one `.npz` file, atomically."""
    with atomic_path(path) as temporary:
        arrays: dict[str, Any] = dict(counts)
        np.savez_compressed(temporary, __timing__=np.array(json.dumps(dict(timing))), **arrays)


def save_confusion(path: Path, counts: Counts) -> None:
    """Write the counts of one setting to a `.npz` file, atomically."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, counts=counts)


def merge_shards(paths: Sequence[Path]) -> tuple[dict[str, Counts], dict[str, float]]:
    """Add up the shards of one benchmark.

    Returns:
        counts by label, and the sums of `images` and `seconds`.

    Raises:
        InputError: a file is missing or damaged, the shards have different labels or numbers
            of classes, or no pixel of the benchmark has ground truth.
    """
    total: dict[str, Counts] = {}
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
        if any(counts.shape != total.get(label, counts).shape for label, counts in parts.items()):
            raise InputError(f"shard {path} has another number of classes than {paths[0]}")
        total = {label: counts + total.get(label, 0) for label, counts in parts.items()}
    if not any(counts[:, :-1].any() for counts in total.values()):
        raise InputError(
            f"{', '.join(map(str, paths[:3]))}: no pixel of {timing['images']:.0f} images has ground "
            "truth, so that there is nothing to score; check the benchmark's label maps"
        )
    return total, timing


def numbers_of(counts: Counts, classes: ClassList) -> dict[str, float | None]:
    """Every metric of a confusion matrix by its name; fractions, None where it has no meaning."""
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
    counts: Mapping[str, Counts],
    timing: Mapping[str, float],
    classes: ClassList,
    settings: Mapping[str, Any],
    about: Mapping[str, Any],
) -> None:
    """Write a benchmark's `metrics.json`, atomically.

    Args:
        path: the file.
        counts: by way to classify.
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
        "settings": dict(settings),
        "results": {way: numbers_of(of_way, classes) for way, of_way in counts.items()},
        "timing": {
            "seconds": round(timing["seconds"], 3),
            "images_per_second": round(timing["images"] / max(timing["seconds"], 1e-9), 3),
        },
    }
    write_text(path, json.dumps(record, indent=1) + "\n")
