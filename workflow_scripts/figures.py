"""Draw the figures of a recipe, each as PNG, PDF and SVG."""

import argparse
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.reporting.figures.figures import draw_figures


def _named_file(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form NAME=FILE")
    return name, Path(path)


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(
        description=f"{__doc__} Class tables and confusion matrices lie in a folder with the "
        "benchmark's name."
    )
    for name, meaning in {
        "evaluation": "metrics.json of each benchmark: seen_unseen",
        "per-class": "BENCHMARK/per_class.csv: per_class_BENCHMARK",
        "confusion": "BENCHMARK/confusion.npz, with its class table: confusion_BENCHMARK",
        "ablation": "CSV of each grid: ablation_GRID",
        "given": "METHOD/BENCHMARK/metrics.json of predictions of other models, with per_class.csv "
        "beside it: per_class_BENCHMARK_METHOD",
    }.items():
        result.add_argument(
            f"--{name}", nargs="*", type=Path, default=[], metavar="FILE", help=meaning
        )
    result.add_argument(
        "--curves",
        nargs="*",
        type=_named_file,
        default=[],
        metavar="NAME=FILE",
        help="metrics.jsonl of each training: curves_NAME",
    )
    result.add_argument(
        "--output-folder", type=Path, required=True, metavar="DIR", help="for the figures"
    )
    return result


def main(arguments: argparse.Namespace) -> None:
    """Read and draw one figure after another."""
    names = draw_figures(
        evaluations=arguments.evaluation,
        per_class=arguments.per_class,
        confusions=arguments.confusion,
        grids=arguments.ablation,
        curves=dict(arguments.curves),
        output_folder=arguments.output_folder,
        given=arguments.given,
    )
    logging.info("%d figures in %s", len(names), arguments.output_folder)


if __name__ == "__main__":
    run(parser(), main)
