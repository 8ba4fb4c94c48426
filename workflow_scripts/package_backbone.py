"""The small Swin that comes with the package, in half precision, with its card."""

import argparse
import json
import logging
from pathlib import Path

from scan_core.command.command_line import run


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--recipe-part", type=Path, required=True, help="of the segmenter stage")
    result.add_argument("--segmenter", type=Path, required=True, help="made by train_segmenter")
    result.add_argument("--metrics", type=Path, required=True, help="record of its training")
    result.add_argument("--images", type=int, required=True, help="that it was trained on")
    result.add_argument("--output", type=Path, required=True, help="a .safetensors file")
    result.add_argument("--card", type=Path, required=True, help="a .md file")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Take the backbone out, and write it."""
    from scan_core.models.packaged.files import save_packaged  # torch takes seconds to import
    from scan_core.params.recipe_part import read_part
    from scan_core.storage.atomic import write_text
    from scan_core.storage.tensors import load_tensors
    from scan_core.training.packaged_backbone import backbone_weights, card

    part = read_part(arguments.recipe_part)
    assert part.segmenter is not None  # the segmenter stage's part has one
    rows = [json.loads(line) for line in arguments.metrics.read_text("utf-8").splitlines()]
    header = {
        "backbone": part.segmenter.backbone.model_dump(exclude={"weights"}),
        "training": part.segmenter.training.model_dump(),
        "images": arguments.images,
        "seed": part.seed,
        "miou": [row["validation_miou"] for row in rows if "validation_miou" in row][-1],
    }
    weights = backbone_weights(load_tensors(arguments.segmenter)[0])
    save_packaged(arguments.output, weights, header)
    write_text(arguments.card, card(weights, header))
    logging.info("made %s", arguments.output)


if __name__ == "__main__":
    run(parser(), main)
