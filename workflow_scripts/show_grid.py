"""Show what a grid evaluates, a CSV row for each cell and benchmark, without running anything."""

import json
import logging
import sys
from pathlib import Path

from scan_core.errors import InputError
from scan_core.params.command_line import run
from scan_core.params.grid import check_grid, rows_of
from scan_core.params.reading import read_params, validate


def show_grid(grid: str, /, recipe: str | None = None, params: Path = Path("params.yaml")) -> None:
    """Show what a grid evaluates, a CSV row for each cell and benchmark, without running anything.

        python -m workflow_scripts.show_grid replace_layers --recipe vitl14

    Each row has the seed, the varied values, the model, every test-time setting as it will be used,
    and the key by which the settings are known in results.

    Args:
        grid: its name under `ablations` of params.yaml.
        recipe: to start from (default: the grid's, or the one that runs).
        params: file of the recipes.
    """
    import pandas as pd

    document = validate(read_params(params), str(params))
    grids = document.ablations
    if grid not in grids:
        raise InputError(f"grid '{grid}' is unknown; there are {', '.join(grids)}")
    name = recipe or grids[grid].recipe or document.recipe
    if name not in document.recipes:
        raise InputError(f"recipe '{name}' is unknown; there are {', '.join(document.recipes)}")
    if grids[grid].recipe not in (None, name):
        raise InputError(f"grid '{grid}' is for the recipe '{grids[grid].recipe}', not '{name}'")
    check_grid(grid, document.recipes[name], grids[grid])
    rows = list(rows_of(document.recipes[name], grids[grid]))
    shown = [
        {"grid": grid, "seed": row["seed"], "benchmark": row["benchmark"]}
        | {key: json.dumps(value) for key, value in row["values"].items()}
        | {"model": row["model"]}
        | {key: json.dumps(value) for key, value in row["settings"].items()}
        | {"key": row["key"]}
        for row in rows
    ]
    pd.DataFrame(shown).to_csv(sys.stdout, index=False)
    benchmarks = len({row["benchmark"] for row in rows})
    logging.info("%d cells on %d benchmarks", len(rows) // benchmarks, benchmarks)


if __name__ == "__main__":
    run(show_grid)
