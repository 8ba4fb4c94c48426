"""Put a model's release together: weights, model card, recipe, dataset manifest, checksums."""

import argparse
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.params.frozen_recipe import load_frozen
from scan_core.reporting.release import write_release
from scan_core.reporting.results import load_evaluations


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--model", type=Path, required=True, help="made by fuse_weights")
    result.add_argument(
        "--recipe-file", type=Path, required=True, help="the recipe, as the workflow freezes it"
    )
    result.add_argument("--manifest", type=Path, required=True, help="of the datasets")
    result.add_argument(
        "--evaluation",
        nargs="+",
        type=Path,
        required=True,
        metavar="FILE",
        help="metrics.json of each benchmark, all of this model",
    )
    result.add_argument("--output-folder", type=Path, required=True, metavar="DIR")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Read, copy, describe."""
    recipe, _ = load_frozen(arguments.recipe_file)
    evaluations = load_evaluations(arguments.evaluation)
    write_release(arguments.model, recipe, arguments.manifest, evaluations, arguments.output_folder)
    logging.info("release of %s in %s", recipe["recipe"], arguments.output_folder)


if __name__ == "__main__":
    run(parser(), main)
