"""Convert raw data into a benchmark: label maps of training ids, and an index of its images."""

import argparse
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.datasets.conversion import convert
from scan_core.datasets.formats import FORMATS
from scan_core.vocabulary.classes import load_class_list


def _split(text: str) -> tuple[str, str]:
    split, _, name = text.partition("=")
    if split not in ("train", "val"):
        raise argparse.ArgumentTypeError(f"'{text}': expected train, val, train=NAME or val=NAME")
    return split, name or split


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--format", choices=list(FORMATS), required=True, help="raw layout")
    result.add_argument("--raw-root", type=Path, required=True, help="root of the raw data")
    result.add_argument("--classes", required=True, help="built-in name, or path of a .json")
    result.add_argument("--name", required=True, help="name of the benchmark")
    result.add_argument(
        "--splits",
        nargs="+",
        type=_split,
        metavar="SPLIT",
        required=True,
        help="train, val, or val=NAME where the raw data calls the split NAME",
    )
    result.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    result.add_argument("--output", type=Path, required=True, help="folder of the benchmark")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Convert every image of the splits."""
    classes = load_class_list(arguments.classes)
    index = convert(
        FORMATS[arguments.format],
        classes,
        arguments.raw_root,
        arguments.output,
        dict(arguments.splits),
        arguments.workers,
        arguments.name,
    )
    images = {name: len(split.samples) for name, split in index.splits.items()}
    logging.info("%s: %d classes, images: %s", arguments.name, len(classes), images)


if __name__ == "__main__":
    run(parser(), main)
