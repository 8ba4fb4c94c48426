"""Fine-tune CLIP's image encoder on masked crops and their nouns, with contextual shift."""

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
        "--recipe-part", type=Path, required=True, help="JSON file, of the fine-tuning stage"
    )
    result.add_argument("--clip", type=Path, required=True, help="made by clip_weights")
    result.add_argument("--pairs", type=Path, required=True, help="made by mine_mask_text_pairs")
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
    return result


def main(arguments: argparse.Namespace) -> None:
    """Fine-tune, and save."""
    from scan_core.inference.assembly import save_clip
    from scan_core.training.loop import finish
    from scan_core.training.run import finetune_clip

    part = read_part(arguments.recipe_part)
    with live_run(arguments.run, arguments.recipe_part, arguments.work):
        scan, metrics, is_first = finetune_clip(
            part,
            arguments.clip,
            arguments.pairs,
            arguments.index,
            arguments.work,
            devices=arguments.devices,
            nodes=arguments.nodes,
            workers=arguments.workers,
        )
    if is_first:
        write_text(arguments.metrics, metrics.read_text(encoding="utf-8"))
        save_clip(arguments.output, scan.network.clip, {"clip": part.clip.model_dump()})
        finish(arguments.work)
        logging.info("made %s", arguments.output)


if __name__ == "__main__":
    run(parser(), main)
