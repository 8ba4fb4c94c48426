"""The table of a benchmark's classes."""

import csv
from io import StringIO

import numpy as np
from numpy.typing import NDArray

from scan_core.evaluation.metrics import segmentation_metrics
from scan_core.evaluation.sg_iou import sg_metrics
from scan_core.vocabulary.classes import ClassList

COLUMNS = (
    "id",
    "name",
    "seen",
    "iou",
    "accuracy",
    "sg_iou",
    "truth_pixels",
    "predicted_pixels",
    "mistaken_for",
)


def per_class_table(confusion: NDArray[np.integer], classes: ClassList) -> str:
    """One row for each class, as CSV.

    IoU, accuracy and SG-IoU are fractions, empty for a class without ground truth; SG-IoU is
    the IoU where a class has no parent. `mistaken_for` is the class that most of its missed
    pixels were given to.

    Args:
        confusion: (K + 1, K + 1), see `ConfusionMatrix.counts`.
        classes: of the benchmark.

    Returns:
        the text of a CSV file.
    """
    metrics = segmentation_metrics(confusion)
    guided = sg_metrics(confusion, classes.parents)
    missed = np.array(confusion[:-1, :-1])
    np.fill_diagonal(missed, 0)
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for index, name in enumerate(classes.names):
        taken_by = int(missed[:, index].argmax())
        writer.writerow(
            [
                index,
                name.strip(),
                "" if classes.seen is None else str(classes.seen[index]).lower(),
                *(_number(table[index]) for table in (metrics.iou, metrics.accuracy, guided.iou)),
                int(confusion[:, index].sum()),
                int(confusion[index, :-1].sum()),
                classes.names[taken_by].strip() if missed[taken_by, index] else "",
            ]
        )
    return text.getvalue()


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6f}"
