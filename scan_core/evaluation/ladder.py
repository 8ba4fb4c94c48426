"""From the counts of a diagnosis to its files: the ladder, what each step gains, calibration."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from scan_core.evaluation.calibration import KINDS, reliability
from scan_core.evaluation.counts import ImageCounts, save_counts
from scan_core.evaluation.intervals import differences, estimate
from scan_core.evaluation.metrics import metrics_of
from scan_core.params.metric_names import METRICS
from scan_core.params.settings import TestSettings
from scan_core.storage.files import write_json, write_text
from scan_core.vocabulary.classes import ClassList

# The rungs, each with all that the ones before have; the rest is up to 100 %.
LADDER = {
    "as_it_is": "the model as it is",
    "better_classifier": "each proposal by the better of its two classifiers",
    "present_classes": "… and only classes that the image has",
    "right_classes": "the right class for every proposal",
}
# What a rung has more than the one before it, and the last step to 100 %.
STEPS = {
    "better_classifier": "the choice between the classifiers",
    "present_classes": "confusions with classes that the image does not have",
    "right_classes": "confusions of classes that the image has",
    "masks": "masks",
}
# The rungs that leave recognition alone.
TRUE_MASKS = {
    "true_masks.combined": "true masks, both classifiers",
    "true_masks.in_vocabulary": "true masks, in-vocabulary classifier only",
    "true_masks.clip_only": "true masks, CLIP only",
    "true_masks.original_clip": "true masks, CLIP only, before fine-tuning",
}
GROUPS = ("all", "seen", "unseen")
_IN_TABLE = ("miou", "miou_seen", "miou_unseen", "pacc")


def write_diagnosis(
    folder: Path,
    counts: Mapping[str, ImageCounts],
    classes: ClassList,
    about: Mapping[str, Any],
    tuned: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Write `diagnosis.json`, `ladder.csv` and `counts.npz`, each atomically.

    Args:
        folder: where to write.
        counts: from `diagnose`.
        classes: what the benchmark is scored by.
        about: `recipe`, `variant`, `benchmark`.
        tuned: see `calibrated`.

    Returns:
        what the ladder says, in a sentence.
    """
    names = {**LADDER, **TRUE_MASKS}
    found = {rung: estimate(counts[rung], classes) for rung in names}
    bounds = {rung: of_rung.intervals() for rung, of_rung in found.items()}
    steps = {upper: differences(found[upper], found[lower]) for lower, upper in pairwise(LADDER)}
    steps["masks"] = dict.fromkeys(bounds["right_classes"])
    for metric, limits in bounds["right_classes"].items():
        value = found["right_classes"].metrics[metric]
        if value is not None and limits is not None:
            steps["masks"][metric] = [1 - x for x in (value, *limits[::-1])]
    record = {
        **about,
        "classes": classes.name,
        "images": counts["as_it_is"].shape[0],
        "ladder": [
            {"rung": rung, "name": name, "metrics": found[rung].metrics, "intervals": bounds[rung]}
            for rung, name in names.items()
        ],
        "steps": [{"step": s, "name": STEPS[s], "points": points} for s, points in steps.items()],
        "calibration": {
            name.removeprefix("calibration."): _calibration(of, classes)
            for name, of in counts.items()
            if name.startswith("calibration.")
        },
        "tuned": list(tuned),
    }
    record["sentence"] = sentence(record)
    save_counts(folder / "counts.npz", counts)
    write_text(folder / "ladder.csv", _table(record).to_csv(float_format="%.4f"))
    write_json(folder / "diagnosis.json", record)
    return str(record["sentence"])


def calibrated(
    counts: Mapping[str, ImageCounts], settings: Mapping[str, TestSettings], classes: ClassList
) -> list[dict[str, Any]]:
    """The settings as they are, those of best mIoU, and those of the smallest calibration error.

    Args:
        counts: from `calibrate`.
        settings: by their key, those as they are first.
        classes: what the images are scored by.

    Returns:
        for each its `name`, `logit_scale`, `clip_weight`, `miou`, `error` (of the pixels, bins of
        equal width), and the number of `images`.
    """
    found: list[dict[str, Any]] = [
        {
            "logit_scale": one.logit_scale,
            "clip_weight": one.clip_weight,
            "miou": metrics_of(counts[key], classes)["miou"],
            "error": reliability(counts[f"calibration.{key}"], "pixels", "all")[1]["error"],
            "images": counts[key].shape[0],
        }
        for key, one in settings.items()
    ]
    known = [one for one in found if one["miou"] is not None and one["error"] is not None]
    if not known:
        return []
    best = {
        "as it is": found[0],
        "best mIoU": max(known, key=lambda one: one["miou"]),
        "best calibrated": min(known, key=lambda one: one["error"]),
    }
    return [{"name": name, **one} for name, one in best.items()]


def sentence(record: Mapping[str, Any], metric: str = "miou") -> str:
    """Where the points are lost, for people to quote; most of them first."""
    by_rung = {rung["rung"]: rung["metrics"][metric] for rung in record["ladder"]}
    lost = {one["name"]: 100 * one["points"][metric][0] for one in record["steps"]}
    parts = [f"{points:.1f} {name}" for name, points in sorted(lost.items(), key=lambda x: -x[1])]
    first, *others = parts
    total = 100 * (1 - by_rung["as_it_is"])
    return (
        f"Of {total:.1f} points of {METRICS[metric].name} that are missing to 100 % on "
        f"{record['benchmark']}, {first.replace(' ', ' are ', 1)}, {', '.join(others)}. "
        f"With true masks the model reaches {100 * by_rung['true_masks.combined']:.1f} %."
    ).replace(" -", " −")


def _calibration(counts: ImageCounts, classes: ClassList) -> dict[str, Any]:
    """By kind and group the errors, and the diagram of bins of equal width."""
    groups = GROUPS if classes.seen else GROUPS[:1]
    found: dict[str, Any] = {}
    for kind in KINDS:
        for group in groups:
            table, summary = reliability(counts, kind, group)
            _, equal_mass = reliability(counts, kind, group, equal_mass=True)
            found.setdefault(kind, {})[group] = summary | {
                "error_equal_mass": equal_mass["error"],
                "interval_equal_mass": equal_mass["interval"],
                "bins": table.to_dict("list"),
            }
    return found


def _table(record: Mapping[str, Any]) -> pd.DataFrame:
    """A row for each rung, in %."""
    rows = []
    for rung in record["ladder"]:
        row = {"rung": rung["rung"], "name": rung["name"]}
        for metric in _IN_TABLE:
            low, high = rung["intervals"][metric] or (None, None)
            row |= {metric: rung["metrics"][metric], f"{metric}_low": low, f"{metric}_high": high}
        rows.append(row)
    return 100 * pd.DataFrame(rows).set_index(["rung", "name"]).astype(float)
