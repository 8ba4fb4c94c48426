"""CLIP's weights: trained on the miniature world's captions, from open_clip, or from a file."""

import argparse
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.params.recipe_part import read_part
from scan_core.storage.atomic import write_text
from scan_core.tracking.live import live_run


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument(
        "--recipe-part", type=Path, required=True, help="JSON file, of the clip stage"
    )
    result.add_argument("--output", type=Path, required=True, help="a .safetensors file")
    result.add_argument("--metrics", type=Path, required=True, help="record of the training")
    result.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    result.add_argument("--workers", type=int, default=1, help="processes that draw pictures")
    result.add_argument(
        "--run", metavar="NAME", help="in MLflow, RECIPE/STAGE/VARIANT; see SCAN_TRACKING"
    )
    return result


def main(arguments: argparse.Namespace) -> None:
    """Obtain, and save."""
    from lightning_fabric import Fabric  # torch takes seconds to import

    from scan_core.inference.assembly import save_clip
    from scan_core.training.clip_source import obtain_clip
    from scan_core.training.loop import finish

    part = read_part(arguments.recipe_part)
    fabric = Fabric(accelerator="auto", devices=1)
    fabric.launch()
    with live_run(arguments.run, arguments.recipe_part, arguments.work):
        clip, metrics = obtain_clip(fabric, part.clip, part.seed, arguments.work, arguments.workers)
    record = "" if metrics is None else metrics.read_text(encoding="utf-8")
    write_text(arguments.metrics, record)
    save_clip(arguments.output, clip, {"clip": part.clip.model_dump(), "seed": part.seed})
    finish(arguments.work)
    logging.info("made %s", arguments.output)


if __name__ == "__main__":
    run(parser(), main)
