"""Mine mask–noun pairs of some images: which proposal shows which noun of an image's captions."""

import argparse
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.errors import InputError
from scan_core.params.provenance import package_hash
from scan_core.params.recipe_part import as_text, read_part


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument(
        "--recipe-part", type=Path, required=True, help="JSON file, of the fine-tuning stage"
    )
    result.add_argument("--clip", type=Path, required=True, help="made by clip_weights")
    result.add_argument("--segmenter", type=Path, required=True, help="made by train_segmenter")
    result.add_argument("--index", type=Path, required=True, help="of the training benchmark")
    result.add_argument("--captions", required=True, help="a file like COCO's, or `classes`")
    result.add_argument("--shard", type=int, default=0, help="number of this shard, from 0")
    result.add_argument("--shards", type=int, default=1, help="number of shards")
    result.add_argument("--workers", type=int, default=1, help="threads that read images")
    result.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    result.add_argument("--output", type=Path, required=True, help="pairs, one a line")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Mine."""
    from scan_core.datasets.captions import training_captions
    from scan_core.datasets.loading import BenchmarkImages
    from scan_core.inference.assembly import assemble
    from scan_core.inference.devices import chosen_device
    from scan_core.storage.files import file_digest, json_digest
    from scan_core.training.mining import Captioned, mine_shard

    part = read_part(arguments.recipe_part)
    if part.clip_finetune is None:
        raise InputError("--recipe-part: this stage needs the key 'clip_finetune'")
    settings = part.clip_finetune.pairs
    images = BenchmarkImages(arguments.index, "train")
    captions = training_captions(arguments.captions, images)
    captioned = Captioned(
        images,
        captions,
        settings.captions_per_image,
        settings.images,
    )
    inputs = (arguments.clip, arguments.segmenter, arguments.index)
    identity = {
        "part": as_text(part),
        "code": package_hash("scan_core.training.mining"),
        "shard": [arguments.shard, arguments.shards],
        "captions": json_digest(captions),
        "inputs": [file_digest(path) for path in inputs],
    }
    numbers = captioned.numbers(arguments.shard, arguments.shards)
    device = chosen_device(arguments.device)
    scan = assemble(part, arguments.clip, arguments.segmenter, device=device)
    mine_shard(
        scan, captioned, numbers, settings.proposals, arguments.workers, identity, arguments.output
    )
    logging.info("%d images are mined", len(numbers))


if __name__ == "__main__":
    run(parser(), main)
