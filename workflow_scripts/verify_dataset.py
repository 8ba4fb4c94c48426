"""Verify a converted benchmark and draw its picture sheet."""

import logging
from pathlib import Path

from scan_core.params.command_line import run
from scan_core.storage.files import write_json


def verify_dataset(
    index: Path,
    report: Path,
    sheet: Path,
    expected_images: list[str] | None = None,
    workers: int = 1,
) -> None:
    """Verify a converted benchmark and draw its picture sheet.

    Args:
        index: index.json of the benchmark.
        report: JSON file to write.
        sheet: PNG file to write.
        expected_images: SPLIT=NUMBER of images that a split must list.
        workers: threads.
    """
    from scan_core.datasets.verification import verify
    from scan_core.reporting.draw import draw_sheet

    pairs = (text.split("=") for text in expected_images or [])
    found = verify(index, {split: int(number) for split, number in pairs}, workers)
    draw_sheet(index, sheet)
    write_json(report, found)
    for name, split in found["splits"].items():
        logging.info(
            "%s: %d images, %d classes absent, %.1f %% of the pixels without a label",
            name,
            split["images"],
            len(split["absent"]),
            100 * split["ignored_share"],
        )


if __name__ == "__main__":
    run(verify_dataset)
