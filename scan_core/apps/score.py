"""Score what any model has predicted on a benchmark, by all metrics and rules.

    python -m scan_core.apps.score --benchmark BENCHMARK --predictions DIR --out scored

Predictions are label maps, <stem of the image>.png with 8 or 16 bits, or a .json of masks in COCO's
run-length encoding. Writes metrics.json, per_class.csv, confusion.npz and, where there are
published numbers of the benchmark, published.md, and prints the metrics and the table.
"""

import argparse
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.evaluation.merging import numbers_of
from scan_core.evaluation.scoring import write_scores
from scan_core.params.metric_names import METRICS
from scan_core.reporting.results import load_evaluations
from scan_core.reporting.tables import scored_table
from scan_core.storage.atomic import write_text
from scan_core.vocabulary.classes import ClassList, builtin_class_lists, load_class_list


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(
        prog="python -m scan_core.apps.score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "--benchmark", type=Path, required=True, help="folder of a benchmark, or its index.json"
    )
    result.add_argument(
        "--predictions", type=Path, required=True, help="folder of label maps, or a .json of masks"
    )
    result.add_argument(
        "--ids",
        choices=["training", "raw"],
        default="training",
        help="what a predicted number is: the place in the class list, from 0 (default), or the "
        "class's value in the raw label maps",
    )
    result.add_argument("--classes", help="class list (default: the benchmark's own, if built in)")
    result.add_argument("--split", default="val", help="of the benchmark (default: val)")
    result.add_argument("--method", default="predictions", help="what the tables call the model")
    result.add_argument("--out", type=Path, required=True, dest="output", help="folder to write to")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Count, write and print."""
    index = arguments.benchmark
    images = BenchmarkImages(index / "index.json" if index.is_dir() else index, arguments.split)
    classes = _class_list(images, arguments.classes)
    folder = arguments.output
    counts = write_scores(
        images,
        classes,
        arguments.predictions,
        arguments.ids,
        arguments.method,
        images.index.name,
        folder,
    )
    for name, value in numbers_of(counts, classes).items():
        shown = "-" if value is None else f"{100 * value:.2f}"
        print(f"{name:<24} {shown:>6}  {METRICS[name].description}")
    table = scored_table(load_evaluations([folder / "metrics.json"]))
    if table is not None:
        write_text(folder / "published.md", table.markdown())
        print(f"\n{table.markdown()}")


def _class_list(images: BenchmarkImages, named: str | None) -> ClassList:
    own = images.index.classes
    if named is None and own not in builtin_class_lists():
        raise InputError(
            f"the benchmark {images.index.name} has a class list of your own, {own}; name its file "
            "with --classes"
        )
    return load_class_list(named or own)


def start() -> None:
    """Run the command."""
    run(parser(), main)


if __name__ == "__main__":
    start()
