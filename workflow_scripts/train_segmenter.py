"""Train the segmenter: Swin, decoders and semantic integration, with CLIP frozen."""

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
        "--recipe-part", type=Path, required=True, help="JSON file, of the segmenter stage"
    )
    result.add_argument("--clip", type=Path, required=True, help="made by clip_weights")
    result.add_argument("--backbone", type=Path, help="ImageNet weights of Swin")
    result.add_argument("--index", type=Path, required=True, help="of the training benchmark")
    result.add_argument("--output", type=Path, required=True, help="a .safetensors file")
    result.add_argument("--metrics", type=Path, required=True, help="record of the training")
    result.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    result.add_argument(
        "--run", metavar="NAME", help="in MLflow, RECIPE/STAGE/VARIANT; see SCAN_TRACKING"
    )
    result.add_argument("--devices", default="auto", help="for each node (default: auto)")
    result.add_argument("--nodes", type=int, default=1, help="machines (default: 1)")
    result.add_argument("--workers", type=int, default=1, help="processes that read images")
    result.add_argument("--micro-batches", type=int, default=1, help="gradient accumulation")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Train, and save what was trained."""
    from scan_core.inference.assembly import header_of, segmenter_weights
    from scan_core.storage.tensors import save_tensors
    from scan_core.training.loop import finish
    from scan_core.training.run import train_segmenter

    part = read_part(arguments.recipe_part)
    with live_run(arguments.run, arguments.recipe_part, arguments.work):
        scan, metrics, is_first = train_segmenter(
            part,
            arguments.clip,
            arguments.backbone,
            arguments.index,
            arguments.work,
            devices=arguments.devices,
            nodes=arguments.nodes,
            workers=arguments.workers,
            micro_batches=arguments.micro_batches,
        )
    if is_first:
        write_text(arguments.metrics, metrics.read_text(encoding="utf-8"))
        save_tensors(arguments.output, segmenter_weights(scan.network), header_of(part))
        finish(arguments.work)
        logging.info("made %s", arguments.output)


if __name__ == "__main__":
    run(parser(), main)
