"""Merge the shards of a benchmark's evaluation: metrics, table of classes, confusion matrix."""

import argparse
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.storage.atomic import write_text


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--shards", nargs="+", type=Path, required=True, help=".npz files")
    result.add_argument("--classes", required=True, help="class list it is scored by")
    result.add_argument("--recipe", required=True)
    result.add_argument("--variant", required=True)
    result.add_argument("--benchmark", required=True)
    result.add_argument("--metrics", type=Path, required=True, help="JSON: the ways to classify")
    result.add_argument("--everything", type=Path, required=True, help="JSON: every setting")
    result.add_argument("--per-class", type=Path, required=True, help="CSV")
    result.add_argument("--confusion", type=Path, required=True, help=".npz file")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Merge, and write."""
    from scan_core.evaluation.merging import (
        merge_shards,
        numbers_of,
        save_confusion,
        write_metrics,
        write_numbers,
    )
    from scan_core.evaluation.per_class import per_class_table
    from scan_core.vocabulary.classes import load_class_list

    classes = load_class_list(arguments.classes)
    merged = merge_shards(arguments.shards)
    ways, settings = merged.ways(), merged.settings.table().default.as_dict()
    combined = ways["combined"]
    about = {
        "recipe": arguments.recipe,
        "variant": arguments.variant,
        "benchmark": arguments.benchmark,
    }
    write_metrics(arguments.metrics, ways, merged.timing, classes, settings, about)
    write_numbers(arguments.everything, merged, classes)
    write_text(arguments.per_class, per_class_table(combined, classes))
    save_confusion(arguments.confusion, combined)
    logging.info("%s: mIoU %.4f", arguments.benchmark, numbers_of(combined, classes)["miou"])


if __name__ == "__main__":
    run(parser(), main)
