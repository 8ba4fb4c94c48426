"""Draw the miniature world in the raw layout of one of the real datasets."""

import logging
from pathlib import Path
from typing import Literal

from scan_core.params.command_line import run
from scan_core.storage.files import write_json


def generate_miniworld(
    layout: Literal["coco", "ade_challenge", "ade_full", "voc2012", "voc2010"],
    raw_root: Path,
    seed: int,
    image_size: int,
    images: list[str],
    output: Path,
    workers: int = 1,
) -> None:
    """Draw the miniature world in the raw layout of one of the real datasets.

    Args:
        layout: dataset to imitate.
        raw_root: root of the raw data.
        seed: of the world.
        image_size: longer side, pixels.
        images: SPLIT=NUMBER of images of each split.
        output: record to write, JSON.
        workers: processes.
    """
    from scan_core.datasets.miniworld.raw_layouts import generate

    numbers = {split: int(number) for split, number in (text.split("=") for text in images)}
    record = generate(layout, raw_root, seed, image_size, numbers, workers)
    write_json(output, record)
    logging.info("%s: images %s", layout, record["images"])


if __name__ == "__main__":
    run(generate_miniworld)
