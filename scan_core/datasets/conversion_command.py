"""The command line that the converters share."""

import argparse
import logging
from pathlib import Path

from scan_core.command_line import run
from scan_core.datasets.conversion import convert
from scan_core.datasets.formats import FORMATS
from scan_core.vocabulary.classes import load_class_list


def run_converter(format_name: str, description: str) -> None:
    """Parse the command line of one raw format's converter and convert.

    Args:
        format_name: key of `FORMATS`.
        description: what `--help` says first.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--raw-root", type=Path, required=True, help="root of the raw data")
    parser.add_argument("--class-list", required=True, help="built-in name, or path of a .json")
    parser.add_argument("--name", required=True, help="name of the benchmark")
    parser.add_argument("--splits", nargs="+", choices=["train", "val"], required=True)
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--output", type=Path, required=True, help="folder of the benchmark")

    def main(arguments: argparse.Namespace) -> None:
        classes = load_class_list(arguments.class_list)
        index = convert(
            FORMATS[format_name],
            classes,
            arguments.raw_root,
            arguments.output,
            arguments.splits,
            arguments.workers,
            arguments.name,
        )
        images = {name: len(split.samples) for name, split in index.splits.items()}
        logging.info("%s: %d classes, images: %s", arguments.name, len(classes), images)

    run(parser, main)
