"""How far metrics would differ on other images: 95 % intervals by bootstrap over the test set.

A resample draws as many images as the test set has, with replacement; a metric's interval spans
the middle 95 % of its values over the resamples (the percentile interval). Every model is evaluated
on the same resamples, so the differences of two models' values are paired.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scan_core.errors import InputError
from scan_core.evaluation.counts import ImageCounts
from scan_core.evaluation.metrics import ClassSums, Floats, of_first, terms
from scan_core.storage.files import atomic_path, read_arrays, read_json
from scan_core.vocabulary.classes import ClassList

RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)

# By metric: the lower and the upper bound; or a difference and its bounds. None without a meaning.
Bounds = dict[str, list[float] | None]


class Estimate(NamedTuple):
    """The metrics of a model on a test set, None without a meaning, and over the resamples."""

    metrics: dict[str, float | None]
    values: dict[str, Floats]

    @classmethod
    def of(cls, values: Mapping[str, Floats]) -> "Estimate":
        """Of metrics on the test sets of `resampled`."""
        return cls(of_first(values), {name: of[1:] for name, of in values.items()})

    def intervals(self) -> Bounds:
        """The bounds of each metric."""
        return {metric: interval(of_metric) for metric, of_metric in self.values.items()}


@cache
def draws(images: int) -> Floats:
    """(1 + `RESAMPLES`, N): how often each test set has each of N images, the same in every run.

    The first has each once, the others are resamples.
    """
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(images, np.full(images, 1 / images), RESAMPLES)
    return np.vstack([np.ones(images), drawn])


def resampled(counts: ImageCounts, classes: ClassList) -> ClassSums:
    """What the metrics are computed from, for each of the test sets of `draws`."""
    sums = np.ascontiguousarray(draws(counts.shape[0]) @ terms(counts, classes))
    return ClassSums(sums, classes)


def estimate(counts: ImageCounts, classes: ClassList) -> Estimate:
    """Every metric of some images."""
    return Estimate.of(resampled(counts, classes).metrics())


def interval(values: Floats) -> list[float] | None:
    """The bounds of the middle 95 % of the values; None where none of them is a number."""
    known = values[~np.isnan(values)]
    return np.percentile(known, PERCENTILES).tolist() if known.size else None


def differences(one: Estimate, other: Estimate) -> Bounds:
    """By metric how much the first of two models is above the second, and the paired bounds."""
    found: Bounds = dict.fromkeys(one.metrics)
    for metric, first in one.metrics.items():
        second = other.metrics[metric]
        bounds = interval(one.values[metric] - other.values[metric])
        if first is not None and second is not None and bounds is not None:
            found[metric] = [first - second, *bounds]
    return found


def save_resamples(path: Path, values: Mapping[str, Mapping[str, Floats]]) -> None:
    """Write the metrics of each label over the resamples to a `.npz` file, atomically."""
    arrays = {
        f"{label}.{metric}": of_metric.astype(np.float32)
        for label, of_label in values.items()
        for metric, of_metric in of_label.items()
    }
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def load_cell(places: Sequence[tuple[Path, str]]) -> Estimate:
    """The metrics of one setting, and over the resamples: their means over several trainings.

    Args:
        places: for each training the folder of its evaluation of one benchmark, and the key of the
            settings in its `evaluation.json`.

    Raises:
        InputError: a file is missing or damaged, or has not these settings.
    """
    hint = "evaluate it again"
    metrics, values = [], []
    for folder, key in places:
        record = read_json(folder / "evaluation.json", hint)
        if key not in record:
            raise InputError(f"{folder / 'evaluation.json'} has no settings {key}; {hint}")
        metrics.append(record[key]["metrics"])
        arrays: dict[str, NDArray[np.float32]] = read_arrays(folder / "resamples.npz", hint)
        values.append({name: arrays[f"{key}.{name}"].astype(np.float64) for name in metrics[-1]})
    means: dict[str, float | None] = {}
    for name in metrics[0]:
        known = [one[name] for one in metrics]
        means[name] = None if None in known else sum(known) / len(known)
    over = {name: np.mean([one[name] for one in values], axis=0) for name in means}
    return Estimate(means, over)
