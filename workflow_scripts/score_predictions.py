"""Score what another model has predicted on a benchmark, by all metrics and rules."""

import logging
from pathlib import Path

from scan_core.params.command_line import run


def score_predictions(
    index: Path, classes: str, predictions: Path, method: str, output_folder: Path
) -> None:
    """Score what another model has predicted on a benchmark, by all metrics and rules.

    Args:
        index: of the benchmark.
        classes: class list it is scored by.
        predictions: folder of label maps <stem>.png, or a .json of masks; values are training ids.
        method: what the tables call the model.
        output_folder: for metrics.json, per_class.csv and counts.npz.
    """
    from scan_core.datasets.loading import BenchmarkImages
    from scan_core.evaluation.results import write_scores
    from scan_core.vocabulary.classes import load_class_list

    images, class_list = BenchmarkImages(index, "val"), load_class_list(classes)
    metrics = write_scores(images, class_list, predictions, "training", method, output_folder)
    logging.info("%s: mIoU %.4f", images.index.name, metrics["miou"])


if __name__ == "__main__":
    run(score_predictions)
