"""Evaluate a model on a part of a benchmark's images, under one or many settings in one pass."""

import argparse
import logging
import shutil
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.evaluation.settings_file import load_settings


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--model", type=Path, required=True, help="a fused or a released model")
    result.add_argument("--index", type=Path, required=True, help="of the benchmark")
    result.add_argument("--split", default="val", choices=["train", "val"])
    result.add_argument("--classes", required=True, help="class list it is scored by")
    result.add_argument(
        "--settings",
        type=Path,
        help="JSON file of test-time settings (default: those that a released model holds)",
    )
    result.add_argument(
        "--benchmark", help="without --settings: take the released model's settings for this one"
    )
    result.add_argument("--shard", type=int, default=0, help="number of this shard, from 0")
    result.add_argument("--shards", type=int, default=1, help="number of shards")
    result.add_argument("--chance", action="store_true", help="also random classes")
    result.add_argument("--predictions", type=Path, help="folder for predictions")
    result.add_argument("--prediction-format", default="png", choices=["png", "coco_rle", "both"])
    result.add_argument("--most-predictions", type=int, help="of how many images (default: all)")
    result.add_argument("--text-cache", type=Path, help="folder for text features")
    result.add_argument(
        "--evaluated",
        type=Path,
        help="folder of counts by settings; those there are kept",
    )
    result.add_argument("--code", default="", help="names the code: other code, other counts")
    result.add_argument("--workers", type=int, default=1, help="threads that read images")
    result.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    result.add_argument("--output", type=Path, required=True, help="counts, a .npz file")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Count what is not counted yet."""
    from scan_core.evaluation.evaluator import Shard
    from scan_core.evaluation.shard import ShardJob, count_shard
    from scan_core.inference.devices import chosen_device

    predictions = arguments.predictions
    job = ShardJob(
        arguments.model,
        arguments.index,
        arguments.split,
        arguments.classes,
        Shard(arguments.shard, arguments.shards),
        arguments.chance,
        predictions is not None,
        arguments.prediction_format,
        arguments.most_predictions,
        arguments.code,
    )
    made, counted = count_shard(
        job,
        load_settings(arguments.settings) if arguments.settings else None,
        arguments.evaluated or arguments.output.parent / "evaluated",
        arguments.output,
        chosen_device(arguments.device),
        arguments.text_cache,
        arguments.benchmark,
        arguments.workers,
    )
    if predictions is not None and made is not None:
        shutil.copytree(made, predictions, dirs_exist_ok=True)
    logging.info("settings that were not counted before: %d", counted)


if __name__ == "__main__":
    run(parser(), main)
