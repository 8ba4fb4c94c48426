"""Make the tables of a recipe from its evaluations and grids."""

import argparse
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.params.frozen_recipe import load_frozen
from scan_core.reporting.results import load_evaluations, load_given
from scan_core.reporting.tables.grids import load_grid
from scan_core.reporting.tables.tables import write_metrics, write_tables
from scan_core.storage.atomic import write_text


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument(
        "--evaluation",
        nargs="+",
        type=Path,
        required=True,
        metavar="FILE",
        help="metrics.json of each benchmark, all of one model",
    )
    result.add_argument(
        "--ablation", nargs="*", type=Path, default=[], metavar="FILE", help="CSV of each grid"
    )
    result.add_argument(
        "--given",
        nargs="*",
        type=Path,
        default=[],
        metavar="FILE",
        help="metrics.json of predictions of other models, of each method and benchmark",
    )
    result.add_argument(
        "--recipe-file",
        type=Path,
        required=True,
        metavar="FILE",
        help="the recipe, as the workflow freezes it; recipe.json beside the tables repeats it",
    )
    result.add_argument(
        "--architecture",
        required=True,
        metavar="NAME",
        help="of its CLIP: ViT-B-16 and ViT-L-14 are compared to the paper; `small` for a network "
        "of the recipe's own",
    )
    result.add_argument(
        "--output-folder", type=Path, required=True, metavar="DIR", help="for the tables"
    )
    result.add_argument(
        "--metrics-folder",
        type=Path,
        required=True,
        metavar="DIR",
        help="for a JSON file of each benchmark's metrics, which `dvc metrics show` lists",
    )
    return result


def main(arguments: argparse.Namespace) -> None:
    """Read, then write."""
    recipe, text = load_frozen(arguments.recipe_file)
    evaluations = load_evaluations(arguments.evaluation)
    grids = [load_grid(path) for path in arguments.ablation]
    folder = arguments.output_folder
    given = load_given(arguments.given)
    write_tables(evaluations, grids, recipe["recipe"], arguments.architecture, folder, given)
    write_text(folder / "recipe.json", text)
    write_metrics(evaluations, arguments.metrics_folder)
    logging.info("tables of %d benchmarks and %d grids", len(evaluations), len(grids))


if __name__ == "__main__":
    run(parser(), main)
