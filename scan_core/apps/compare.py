"""Compare two evaluations of one benchmark: is the difference more than chance?"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scan_core.errors import InputError
from scan_core.evaluation.counts import load_counts
from scan_core.evaluation.intervals import Estimate, differences, interval, resampled
from scan_core.params.command_line import run
from scan_core.params.metric_names import METRICS
from scan_core.storage.files import read_json
from scan_core.vocabulary.classes import load_class_list


def compare(
    a: Path,
    b: Path,
    /,
    classifiers: tuple[str, str] = ("combined", "combined"),
    classes: str | None = None,
    top: int = 5,
) -> None:
    """Compare two evaluations of one benchmark: is the difference more than chance?

    Prints for every metric and for the classes that gain and lose most how much B is above A, with
    the 95 % interval of the difference by bootstrap over the images, both evaluated on the same
    resamples. An interval that excludes zero is marked by *.

    Args:
        a: folder of an evaluation, with metrics.json and counts.npz, as evaluate and score write.
        b: folder of the other one.
        classifiers: whose results are compared, in A and in B.
        classes: class list (default: the one that both name, if built in).
        top: number of classes to show at either end.
    """
    records = [read_json(folder / "metrics.json", "evaluate it again") for folder in (a, b)]
    keys = ("benchmark", "classes", "class_count", "images")
    if different := [key for key in keys if records[0][key] != records[1][key]]:
        raise InputError(
            f"{a} and {b} are no evaluations of one benchmark: {different[0]} is "
            f"'{records[0][different[0]]}' in one, '{records[1][different[0]]}' in the other"
        )
    class_list = load_class_list(classes or records[0]["classes"])
    found, iou = [], []
    for folder, classifier in zip((a, b), classifiers, strict=True):
        counts, _ = load_counts(folder / "counts.npz")
        if classifier not in counts:
            raise InputError(f"{folder} has no '{classifier}', only {', '.join(counts)}")
        sums = resampled(counts[classifier], class_list)
        found.append(Estimate.of(sums.metrics()))
        iou.append(sums.iou())
    rows = [
        (METRICS[metric].name, *(one.metrics[metric] for one in found), *bounds)
        for metric, bounds in differences(found[1], found[0]).items()
        if bounds is not None
    ]
    benchmark, images = records[0]["benchmark"], records[0]["images"]
    print(f"{benchmark}, {images} images, %\n\n{_table('metric', rows)}")

    gains = iou[1] - iou[0]  # of all images, and of every resample
    order = [int(number) for number in np.argsort(-gains[0]) if not np.isnan(gains[0, number])]
    rows = [
        (class_list.names[n], *(of[0, n] for of in (*iou, gains)), *(interval(gains[1:, n]) or ()))
        for n in dict.fromkeys([*order[:top], *order[-top:]])
    ]
    print(f"\nIoU of the classes that gain and lose most, %\n\n{_table('class', rows)}")


def _table(what: str, rows: Sequence[tuple[object, ...]]) -> str:
    table = pd.DataFrame(rows, columns=[what, "A", "B", "B − A", "low", "high"])
    excludes_zero = (table["low"] > 0) | (table["high"] < 0)
    numbers = (100 * table.set_index(what)).round(2)
    return numbers.assign(**{"": np.where(excludes_zero, "*", "")}).to_string()


def start() -> None:
    """Run the command."""
    run(compare)


if __name__ == "__main__":
    start()
