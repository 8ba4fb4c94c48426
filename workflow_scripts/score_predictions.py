"""Score what another model has predicted on a benchmark, by all metrics and rules."""

import argparse
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.datasets.loading import BenchmarkImages
from scan_core.evaluation.merging import numbers_of
from scan_core.evaluation.scoring import write_scores
from scan_core.vocabulary.classes import load_class_list


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--index", type=Path, required=True, help="of the benchmark")
    result.add_argument("--classes", required=True, help="class list it is scored by")
    result.add_argument(
        "--predictions",
        type=Path,
        required=True,
        help="folder of label maps <stem>.png, or a .json of masks; values are training ids",
    )
    result.add_argument("--method", required=True, help="what the tables call the model")
    result.add_argument("--benchmark", required=True)
    result.add_argument(
        "--output-folder",
        type=Path,
        required=True,
        metavar="DIR",
        help="for metrics.json, per_class.csv and confusion.npz",
    )
    return result


def main(arguments: argparse.Namespace) -> None:
    """Count, and write."""
    classes = load_class_list(arguments.classes)
    counts = write_scores(
        BenchmarkImages(arguments.index, "val"),
        classes,
        arguments.predictions,
        "training",
        arguments.method,
        arguments.benchmark,
        arguments.output_folder,
    )
    logging.info("%s: mIoU %.4f", arguments.benchmark, numbers_of(counts, classes)["miou"])


if __name__ == "__main__":
    run(parser(), main)
