"""Mine mask–noun pairs: which proposal shows which noun of an image's captions."""

import argparse
import json
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.errors import InputError
from scan_core.params.stages import read_part
from scan_core.storage.atomic import write_text


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
    result.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    result.add_argument("--output", type=Path, required=True, help="pairs, one a line")
    result.add_argument("--statistics", type=Path, required=True, help="counts, JSON")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Mine, and count."""
    from scan_core.datasets.captions import training_captions
    from scan_core.datasets.loading import BenchmarkImages
    from scan_core.inference.assembly import assemble
    from scan_core.inference.devices import chosen_device
    from scan_core.training.mask_text_pairs import load_pairs, mine_pairs, save_pairs, statistics

    part = read_part(arguments.recipe_part)
    if part.clip_finetune is None:
        raise InputError("--recipe-part: this stage needs the key 'clip_finetune'")
    device = chosen_device(arguments.device)
    settings = part.clip_finetune.pairs
    scan = assemble(part, arguments.clip, arguments.segmenter, device=device)
    images = BenchmarkImages(arguments.index, "train")
    pairs = mine_pairs(
        scan,
        images,
        training_captions(arguments.captions, images),
        settings.captions_per_image,
        settings.proposals,
        settings.images,
    )
    save_pairs(arguments.output, pairs)
    counted = statistics(load_pairs(arguments.output))
    write_text(arguments.statistics, json.dumps(counted, indent=1) + "\n")
    logging.info(
        "%d pairs of %d nouns in %d images; OVSeg's on COCO, one caption: 442,117 of 12,000",
        *(counted[key] for key in ("pairs", "nouns", "images")),
    )


if __name__ == "__main__":
    run(parser(), main)
