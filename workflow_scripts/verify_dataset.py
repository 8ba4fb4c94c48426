"""Verify a converted benchmark and draw its picture sheet."""

import argparse
import logging
from pathlib import Path

from scan_core.command.command_line import counts, run
from scan_core.datasets.verification import verify
from scan_core.reporting.draw import draw_sheet
from scan_core.storage.records import write_record


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--index", type=Path, required=True, help="index.json of the benchmark")
    result.add_argument(
        "--expected-images",
        nargs="*",
        type=counts,
        default=[],
        metavar="SPLIT=NUMBER",
        help="images that a split must list",
    )
    result.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    result.add_argument("--report", type=Path, required=True, help="JSON to write")
    result.add_argument("--sheet", type=Path, required=True, help="PNG to write")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Verify, then draw."""
    report = verify(arguments.index, dict(arguments.expected_images), arguments.workers)
    draw_sheet(arguments.index, arguments.sheet)
    write_record(arguments.report, report)
    for name, split in report["splits"].items():
        logging.info(
            "%s: %d images, %d classes absent, %.1f %% of the pixels without a label",
            name,
            split["images"],
            len(split["absent"]),
            100 * split["ignored_share"],
        )


if __name__ == "__main__":
    run(parser(), main)
