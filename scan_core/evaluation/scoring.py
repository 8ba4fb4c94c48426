"""Predictions of another model, scored as its own evaluation would be."""

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scan_core.datasets.loading import BenchmarkImages
from scan_core.evaluation.merging import save_confusion, write_metrics
from scan_core.evaluation.per_class import per_class_table
from scan_core.evaluation.predictions import Ids, count_predictions
from scan_core.storage.atomic import write_text
from scan_core.vocabulary.classes import ClassList


def write_scores(
    images: BenchmarkImages,
    classes: ClassList,
    predictions: Path,
    ids: Ids,
    method: str,
    benchmark: str,
    folder: Path,
) -> NDArray[np.int64]:
    """Count predictions, and write `metrics.json`, `per_class.csv` and `confusion.npz`.

    Args:
        images: the split.
        classes: see `count_predictions`.
        predictions: see `count_predictions`.
        ids: see `count_predictions`.
        method: what the model is called.
        benchmark: what the benchmark is called.
        folder: where to write, each file atomically.

    Returns:
        the counts.

    Raises:
        InputError: see `count_predictions`.
    """
    start = time.perf_counter()
    counts = count_predictions(images, classes, predictions, ids)
    timing = {"images": float(len(images)), "seconds": time.perf_counter() - start}
    about = {"recipe": method, "variant": "predictions", "benchmark": benchmark}
    write_metrics(folder / "metrics.json", {"combined": counts}, timing, classes, {}, about)
    write_text(folder / "per_class.csv", per_class_table(counts, classes))
    save_confusion(folder / "confusion.npz", counts)
    return counts
