"""Draw panels of a benchmark: image, ground truth, and the predictions of every way."""

import argparse
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.datasets.loading import BenchmarkImages
from scan_core.reporting.pictures.qualitative import draw_panels
from scan_core.vocabulary.classes import load_class_list


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--index", type=Path, required=True, help="index.json of the benchmark")
    result.add_argument(
        "--classes", required=True, metavar="NAME_OR_PATH", help="its class list, or a .json file"
    )
    result.add_argument(
        "--predictions",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the maps, MODE/IMAGE.png with the modes in_vocabulary, clip_only, combined",
    )
    result.add_argument("--images", type=int, default=6, help="how many (default: 6)")
    result.add_argument("--output", type=Path, required=True, help="PNG to write")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Read, choose, draw."""
    images = BenchmarkImages(arguments.index, "val")
    classes = load_class_list(arguments.classes)
    draw_panels(images, classes, arguments.predictions, arguments.images, arguments.output)


if __name__ == "__main__":
    run(parser(), main)
