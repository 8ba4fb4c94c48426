"""Bring released weights into this project's format: SCAN.pth, CS_CLIP.pt, a Swin .pkl.

    python -m workflow_scripts.import_released_checkpoint --recipe vitl14 \
        --checkpoint scan:SCAN.pth --output results/vitl14/model/released.safetensors

Several checkpoints are laid over each other in the order given. No code in them is run, and one
that does not fit the recipe is refused with a list of the keys.
"""

import argparse
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.errors import InputError
from scan_core.params.reading import read_params, validate

KINDS = ("scan", "mask2former", "finetuned_clip", "backbone")


def _checkpoint(text: str) -> tuple[str, Path]:
    kind, _, path = text.partition(":")
    if kind not in KINDS or not path:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not of the form KIND:FILE with KIND one of {', '.join(KINDS)}"
        )
    return kind, Path(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--recipe", required=True, help="whose architecture the weights have")
    parser.add_argument(
        "--checkpoint",
        type=_checkpoint,
        action="append",
        required=True,
        metavar="KIND:FILE",
        help=f"kinds: {', '.join(KINDS)}",
    )
    parser.add_argument("--output", type=Path, required=True, help="a .safetensors file")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Build the recipe's network, load everything into it, save it."""
    from scan_core.inference.scan import Scan  # torch takes seconds to import
    from scan_core.models.checkpoints import import_foreign

    recipes = validate(read_params(arguments.params), str(arguments.params)).recipes
    if arguments.recipe not in recipes:
        raise InputError(f"recipe '{arguments.recipe}' is unknown; there are {', '.join(recipes)}")
    scan = Scan.from_recipe(recipes[arguments.recipe])
    for kind, path in arguments.checkpoint:
        report = import_foreign(scan.network, path, kind)
        logging.info("%s as %s: %s", path, kind, report)
    scan.save(arguments.output, recipe=arguments.recipe)
    logging.info("made %s", arguments.output)


if __name__ == "__main__":
    run(_parser(), main)
