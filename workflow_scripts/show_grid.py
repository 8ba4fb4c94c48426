"""Show what a grid evaluates, without running anything: a row for each cell and benchmark, as CSV.

    python -m workflow_scripts.show_grid replace_layers --recipe vitl14

Each row has the seed, the varied values, the model, every test-time setting as it will be used, and
the label by which the settings are known in results.
"""

import argparse
import csv
import json
import logging
import sys
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.errors import InputError
from scan_core.params.grid import check_grid, rows_of
from scan_core.params.reading import read_params, validate


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("grid", help="its name under `ablations` of params.yaml")
    result.add_argument(
        "--recipe", help="to start from (default: the grid's, or the one that runs)"
    )
    result.add_argument("--params", type=Path, default=Path("params.yaml"), help="of the recipes")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Print the rows."""
    params = validate(read_params(arguments.params), str(arguments.params))
    grids = params.ablations
    if arguments.grid not in grids:
        raise InputError(f"grid '{arguments.grid}' is unknown; there are {', '.join(grids)}")
    grid = grids[arguments.grid]
    name = arguments.recipe or grid.recipe or params.recipe
    if name not in params.recipes:
        raise InputError(f"recipe '{name}' is unknown; there are {', '.join(params.recipes)}")
    if grid.recipe not in (None, name):
        raise InputError(f"grid '{arguments.grid}' is for the recipe '{grid.recipe}', not '{name}'")
    recipe = params.recipes[name]
    check_grid(arguments.grid, recipe, grid)
    rows = list(rows_of(recipe, grid))
    settings = list(rows[0].settings.as_dict())
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["grid", "seed", "benchmark", *grid.vary, "model", *settings, "label"])
    for row in rows:
        varied = [json.dumps(row.cell.values[key]) for key in grid.vary]
        used = [json.dumps(value) for value in row.settings.as_dict().values()]
        label = row.settings.key
        known = [arguments.grid, row.cell.seed, row.benchmark]
        writer.writerow([*known, *varied, row.model, *used, label])
    benchmarks = len({row.benchmark for row in rows})
    logging.info("%d cells on %d benchmarks", len(rows) // benchmarks, benchmarks)


if __name__ == "__main__":
    run(parser(), main)
