"""Draw the miniature world in the raw layout of one of the real datasets."""

import argparse
import json
import logging
from pathlib import Path

from scan_core.command.command_line import counts, run
from scan_core.datasets.miniworld.raw_layouts import generate
from scan_core.storage.atomic import write_text


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    layouts = ["coco", "ade_challenge", "ade_full", "voc2012", "voc2010"]
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--layout", choices=layouts, required=True, help="dataset to imitate")
    result.add_argument("--raw-root", type=Path, required=True, help="root of the raw data")
    result.add_argument("--seed", type=int, required=True, help="seed of the world")
    result.add_argument("--image-size", type=int, required=True, help="longer side, pixels")
    result.add_argument(
        "--images",
        nargs="+",
        type=counts,
        required=True,
        metavar="SPLIT=NUMBER",
        help="images of each split",
    )
    result.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    result.add_argument("--output", type=Path, required=True, help="record to write, JSON")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Draw, and write the record."""
    record = generate(
        arguments.layout,
        arguments.raw_root,
        arguments.seed,
        arguments.image_size,
        dict(arguments.images),
        arguments.workers,
    )
    write_text(arguments.output, json.dumps(record, indent=1) + "\n")
    logging.info("%s: images %s", arguments.layout, record["images"])


if __name__ == "__main__":
    run(parser(), main)
