"""Segment images of your own into classes of your own.

    python -m scan_core.apps.segment photos/ --classes "cat, dog, sofa | couch" --out segmented

For each image: IMAGE_overlay.png with a legend, IMAGE_labels.png (the 0-based class index of each
pixel, in the order given) and IMAGE.json (masks as COCO run-length encoding, areas, scores). The
default model is the one that `make demo` has trained. It knows only the drawings and words of the
miniature world; for photographs, import the published weights (docs/weights.md).
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import get_args

from scan_core.apps.own_classes import foreign_words, own_classes, parse_classes
from scan_core.command.command_line import run
from scan_core.errors import InputError
from scan_core.params.settings import Precision

# Settings that a command line may override.
OVERRIDES = ("clip_weight", "mask_threshold", "replace_ratio", "precision")


def fraction(text: str) -> float:
    """Parse a number from 0 to 1.

    Raises:
        argparse.ArgumentTypeError: not such a number.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}': expected a number from 0 to 1")
    return value


def add_model_choice(parser: argparse.ArgumentParser) -> "argparse._ArgumentGroup":
    """The options that `chosen_model` chooses by; returns their group, for more."""
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--checkpoint", type=Path, help="a released or imported model (default: the recipe's)"
    )
    group.add_argument(
        "--recipe",
        help="without --checkpoint, open the release of this recipe (default: mini); with one, use "
        "this recipe's test-time settings instead of those that the checkpoint holds",
    )
    group.add_argument(
        "--benchmark", help="use the settings that the model was evaluated with on this benchmark"
    )
    group.add_argument(
        "--params",
        type=Path,
        default=Path("params.yaml"),
        help="file of the recipes (default: params.yaml)",
    )
    return group


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options that choose a model and its settings."""
    group = add_model_choice(parser)
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    group.add_argument(
        "--text-cache", type=Path, help="folder that keeps text features for later runs"
    )
    settings = parser.add_argument_group("settings, instead of the recipe's or the checkpoint's")
    settings.add_argument(
        "--clip-weight", type=fraction, help="0: the segmenter alone, 1: CLIP alone"
    )
    settings.add_argument(
        "--mask-threshold",
        type=fraction,
        help="CLIP sees the pixels whose mask probability is above this",
    )
    settings.add_argument(
        "--replace-ratio",
        type=fraction,
        help="ratio of background tokens replaced by the contextual shift",
    )
    settings.add_argument(
        "--precision",
        choices=get_args(Precision),
        help="of the arithmetic; with bfloat16, CLIP on crops is about twice as fast",
    )


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(
        prog="python -m scan_core.apps.segment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "images", nargs="+", metavar="IMAGE", help="files, folders or glob patterns"
    )
    result.add_argument(
        "--classes",
        required=True,
        help='"cat, dog, sofa | couch": commas between classes, | between synonyms; or @FILE with '
        "one class a line; or @NAME of a built-in list, such as @ade20k_150",
    )
    result.add_argument(
        "--background",
        nargs="?",
        const="",
        metavar="WORDS",
        help="one additional class, for pixels that match one of these words (given as in "
        "--classes) better than any class, or score less than --minimum-score",
    )
    result.add_argument(
        "--minimum-score",
        type=fraction,
        help="pixels below it are background (default: 0.1 with --background, else no background)",
    )
    result.add_argument("--out", type=Path, required=True, help="folder for the results")
    result.add_argument("--batch-size", type=int, default=8, help="images read at once")
    result.add_argument(
        "--resume", action="store_true", help="skip images that already have the same result"
    )
    add_model_options(result)
    return result


def main(arguments: argparse.Namespace) -> None:
    """Segment every image; one that cannot be read is reported, and the others are made."""
    background = arguments.background
    if background is None and arguments.minimum_score:
        background = ""
    classes = own_classes(
        parse_classes(arguments.classes),
        None if background is None else parse_classes(background),
    )
    if foreign := foreign_words(classes.words):
        logging.warning(
            "CLIP was trained on English captions; its results for '%s' are guesses",
            "', '".join(foreign[:5]),
        )
    # Torch takes seconds to import: after what can be refused without it.
    from scan_core.apps.chosen_model import chosen_model, knows_only_drawings
    from scan_core.apps.image_files import find_images, segment_files
    from scan_core.inference.devices import chosen_device

    if arguments.batch_size < 1:
        raise InputError(f"--batch-size {arguments.batch_size}: expected at least 1")
    images = find_images(arguments.images)
    scan = chosen_model(
        arguments.checkpoint,
        arguments.recipe,
        arguments.params,
        {key: getattr(arguments, key) for key in OVERRIDES},
        arguments.benchmark,
        device=chosen_device(arguments.device),
        text_cache=arguments.text_cache,
    )
    if knows_only_drawings(scan):
        logging.warning(
            "this model knows only the drawings and words of the miniature world; for photographs, "
            "import the published weights: docs/weights.md"
        )
    minimum_score = 0.1 if arguments.minimum_score is None else arguments.minimum_score
    failed = segment_files(
        scan,
        images,
        classes,
        arguments.out,
        minimum_score,
        arguments.batch_size,
        arguments.resume,
    )
    if failed:
        reasons = "\n  ".join(str(error) for error in failed)
        sys.exit(f"error: {len(failed)} of {len(images)} images were left out:\n  {reasons}")


def start() -> None:
    """Run the command."""
    run(parser(), main)


if __name__ == "__main__":
    start()
