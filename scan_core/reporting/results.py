"""Results as evaluation and training leave them, read for the report.

Metrics are fractions here, as in the files; NaN stands for a metric that does not exist, such as
the mIoU of unseen classes where the notion does not apply.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scan_core.errors import InputError
from scan_core.params.classifiers import CLASSIFIERS
from scan_core.params.metric_names import METRICS
from scan_core.reporting.reading import fraction, read_csv, read_text
from scan_core.storage.arrays import load_arrays
from scan_core.storage.records import read_record


@dataclass(frozen=True)
class Evaluation:
    """One model on one benchmark.

    Attributes:
        file: where it was read from.
        recipe: of the model.
        variant: of the recipe.
        benchmark: its name in the recipe.
        class_count: number of classes.
        images: number of images.
        results: mode -> metric -> fraction, or NaN.
    """

    file: Path
    recipe: str
    variant: str
    benchmark: str
    class_count: int
    images: int
    results: dict[str, dict[str, float]]


@dataclass(frozen=True)
class GivenMethod:
    """Predictions of another model, scored.

    Attributes:
        name: of the method.
        evaluations: by benchmark; those without predictions are left out.
    """

    name: str
    evaluations: dict[str, Evaluation]

    @property
    def label(self) -> str:
        """What it is called in tables and figures."""
        return f"{self.name} (given predictions)"

    def without(self, benchmarks: Iterable[str]) -> list[str]:
        """The benchmarks that it has no predictions for."""
        return [name for name in benchmarks if name not in self.evaluations]


@dataclass(frozen=True)
class ClassResult:
    """One class of one benchmark: its name, whether it was seen (None: no notion), its IoU."""

    name: str
    seen: bool | None
    iou: float


def load_evaluations(paths: Iterable[Path]) -> list[Evaluation]:
    """Read the `metrics.json` of several benchmarks.

    Raises:
        InputError: unreadable or damaged, two of the same benchmark, or of several models.
    """
    found: dict[str, Evaluation] = {}
    for path in paths:
        new = _load_evaluation(path)
        other = next(iter(found.values()), new)
        if (new.recipe, new.variant) != (other.recipe, other.variant):
            raise InputError(
                f"{path} is of {new.recipe}, {new.variant}, but {other.file} of {other.recipe}, "
                f"{other.variant}; a report is of one model, grids compare several"
            )
        if new.benchmark in found:
            raise InputError(
                f"{path} and {found[new.benchmark].file} are both of the benchmark "
                f"{new.benchmark}; give each benchmark once"
            )
        found[new.benchmark] = new
    return list(found.values())


def load_given(paths: Iterable[Path]) -> list[GivenMethod]:
    """Read the `metrics.json` of predictions of other models, which name their method as recipe.

    Raises:
        InputError: see `load_evaluations`.
    """
    by_method: dict[str, list[Path]] = {}
    for path in paths:
        by_method.setdefault(_load_evaluation(path).recipe, []).append(path)
    return [
        GivenMethod(name, {e.benchmark: e for e in load_evaluations(of_method)})
        for name, of_method in by_method.items()
    ]


def load_per_class(path: Path) -> list[ClassResult]:
    """Read a `per_class.csv`, its rows in training-id order.

    Raises:
        InputError: unreadable or damaged.
    """
    flags = {"true": True, "false": False, "": None}
    rows = read_csv(path, ("name", "seen", "iou"))
    try:
        return [
            ClassResult(row["name"], flags[row["seen"]], float(row["iou"] or "nan")) for row in rows
        ]
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{path} is damaged ({error}); expected true, false or nothing under 'seen' and a "
            "fraction or nothing under 'iou'. Evaluate again."
        ) from None


def load_confusion(path: Path) -> NDArray[np.int64]:
    """Read a `confusion.npz`.

    Returns:
        (K + 1, K + 1) int64: row = prediction, column = ground truth, the last without.

    Raises:
        InputError: unreadable or damaged.
    """
    counts = load_arrays(path, "evaluate again").get("counts", np.zeros(0, np.int64))
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise InputError(
            f"confusion matrix {path} has the shape {counts.shape}; expected as many rows as "
            "columns. Evaluate again."
        )
    return counts


def load_curves(path: Path) -> dict[str, dict[int, float]]:
    """Read a `metrics.jsonl`.

    Where a step is there twice, the later line counts.

    Returns:
        quantity -> step -> value.

    Raises:
        InputError: unreadable, or a line that is no measurement.
    """
    curves: dict[str, dict[int, float]] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            record = json.loads(line)
            step = int(record.pop("step"))
            values = {name: float(value) for name, value in record.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"{path}, line {number} is damaged; expected an object of numbers with the key "
                '\'step\', such as {"step": 10, "loss": 3.2}'
            ) from None
        for name, value in values.items():
            curves.setdefault(name, {})[step] = value
    if not curves:
        raise InputError(f"{path} holds no measurement; has the training run?")
    return curves


def _load_evaluation(path: Path) -> Evaluation:
    try:
        record = read_record(path, "evaluate again")
        if strange := record["results"].keys() - CLASSIFIERS.keys():
            raise InputError(
                f"{path} has results of '{min(strange)}'; known are {', '.join(CLASSIFIERS)}"
            )
        results = {
            mode: {name: fraction(path, f"{mode}.{name}", metrics[name]) for name in METRICS}
            for mode, metrics in record["results"].items()
        }
        return Evaluation(
            file=path,
            recipe=record["recipe"],
            variant=record["variant"],
            benchmark=record["benchmark"],
            class_count=record["class_count"],
            images=record["images"],
            results=results,
        )
    except KeyError as error:
        raise InputError(f"{path} lacks the key {error}; evaluate again") from None
    except (TypeError, AttributeError) as error:
        raise InputError(f"{path} is no evaluation ({error}); evaluate again") from None
