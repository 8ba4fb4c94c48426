"""Evaluate a model on a part of a benchmark's images, under one or many settings in one pass."""

import argparse
import json
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.errors import InputError


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--model", type=Path, required=True, help="made by fuse_weights")
    result.add_argument("--index", type=Path, required=True, help="of the benchmark")
    result.add_argument("--split", default="val", choices=["train", "val"])
    result.add_argument("--classes", required=True, help="class list it is scored by")
    result.add_argument(
        "--settings", required=True, help="JSON: label -> settings (InferenceSettings)"
    )
    result.add_argument("--replace-layers", type=int, nargs="*", default=[])
    result.add_argument("--shard", type=int, default=0, help="number of this shard, from 0")
    result.add_argument("--shards", type=int, default=1, help="number of shards")
    result.add_argument("--chance", action="store_true", help="also random classes")
    result.add_argument("--flip", action="store_true", help="test-time augmentation: mirror")
    result.add_argument("--scales", type=float, nargs="+", default=[1.0], help="likewise: scales")
    result.add_argument("--predictions", type=Path, help="folder for predictions")
    result.add_argument("--prediction-format", default="png", choices=["png", "coco_rle", "both"])
    result.add_argument("--most-predictions", type=int, help="of how many images (default: all)")
    result.add_argument("--text-cache", type=Path, help="folder for text features")
    result.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    result.add_argument("--precision", default="float32", help="float32, bfloat16 or float16")
    result.add_argument("--output", type=Path, required=True, help="counts, a .npz file")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Count."""
    from scan_core.datasets.loading import BenchmarkImages
    from scan_core.evaluation.evaluator import Shard, evaluate
    from scan_core.evaluation.merging import save_shard
    from scan_core.inference.devices import chosen_device
    from scan_core.inference.ensemble import InferenceSettings
    from scan_core.inference.scan import Scan
    from scan_core.vocabulary.classes import load_class_list

    try:
        parsed = json.loads(arguments.settings)
        settings = {label: InferenceSettings(**values) for label, values in parsed.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"--settings: expected JSON, label -> settings; {error}") from None
    scan = Scan.from_checkpoint(
        arguments.model,
        device=chosen_device(arguments.device),
        precision=arguments.precision,
        text_cache=arguments.text_cache,
    )
    scan.observer.use_layers(arguments.replace_layers)
    matrices, timing = evaluate(
        scan,
        BenchmarkImages(arguments.index, arguments.split),
        load_class_list(arguments.classes),
        settings,
        Shard(arguments.shard, arguments.shards),
        arguments.predictions,
        arguments.most_predictions,
        arguments.chance,
        arguments.flip,
        arguments.scales,
        arguments.prediction_format,
    )
    counts = {label: matrix.counts() for label, matrix in matrices.items()}
    save_shard(arguments.output, counts, timing)
    logging.info("%d images, %.1f images/s", timing["images"], timing["images"] / timing["seconds"])


if __name__ == "__main__":
    run(parser(), main)
