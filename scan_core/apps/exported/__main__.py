"""Segment images with an exported model; PyTorch is not needed.

    python -m scan_core.apps.exported photo.jpg --model exported --out labels

Writes a label map <stem>.png for each image: the 0-based class index of each pixel, in the order of
the exported class list, with 8 bits, or 16 for more than 256 classes. `python -m
scan_core.apps.score` takes these as predictions.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from scan_core.command.command_line import run
from scan_core.errors import InputError
from scan_core.storage.atomic import atomic_path


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(
        prog="python -m scan_core.apps.exported",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    result.add_argument(
        "--model", type=Path, required=True, help="folder of `python -m scan_core.apps.export`"
    )
    result.add_argument(
        "--text", type=Path, help="another class list, of --format text (default: the model's)"
    )
    result.add_argument(
        "--benchmark", help="use the settings that the model was evaluated with on this benchmark"
    )
    result.add_argument("--out", type=Path, required=True, help="folder for the label maps")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Segment every image."""
    from scan_core.apps.exported.model import ExportedModel

    targets = _targets(arguments.images, arguments.out)
    model = ExportedModel.open(arguments.model, arguments.text, arguments.benchmark)
    depth = np.uint8 if len(model.text.names) <= 256 else np.uint16
    for image, target in targets.items():
        logging.info("%s", image)
        picture = Image.fromarray(model.segment(image).astype(depth))
        with atomic_path(target) as temporary:
            picture.save(temporary)


def _targets(images: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """The label map of each image.

    Raises:
        InputError: two would be the same, or one would replace an image.
    """
    owners: dict[Path, Path] = {}
    for image in images:
        target = folder / f"{image.stem}.png"
        if target in owners:
            raise InputError(
                f"{owners[target]} and {image} would both become {target}; segment them into two "
                "folders"
            )
        if target.resolve() in {other.resolve() for other in images}:
            raise InputError(f"{target} is one of the images; choose another --out")
        owners[target] = image
    return {image: target for target, image in owners.items()}


def start() -> None:
    """Run the command."""
    run(parser(), main)


if __name__ == "__main__":
    start()
