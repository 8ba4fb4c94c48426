"""Show what a grid evaluates, without running anything: a row for each cell and benchmark."""

import json
import sys
from pathlib import Path

from tyro.conf import Positional

from scan_core.errors import InputError
from scan_core.params.command_line import run
from scan_core.params.grid import check_grid, rows_of
from scan_core.params.reading import check_known, read_params, validate


def show_grid(grid: Positional[str], recipe: str | None = None, csv: bool = False) -> None:
    """Show what a grid evaluates, without running anything: a row for each cell and benchmark.

    Columns in which all rows agree stand above the table.

    Args:
        grid: its name under `ablations` of params.yaml.
        recipe: to start from; without it the grid's own, or the one that runs.
        csv: print CSV with every test-time setting as it will be used, for programs.
    """
    import pandas as pd

    document = validate(read_params(Path("params.yaml")))
    check_known(grid, document.ablations, "grid")
    ablation = document.ablations[grid]
    name = recipe or ablation.recipe or document.recipe
    check_known(name, document.recipes, "--recipe")
    if ablation.recipe not in (None, name):
        raise InputError(f"grid '{grid}' is for the recipe '{ablation.recipe}', not '{name}'")
    check_grid(grid, document.recipes[name], ablation)
    table = pd.DataFrame(
        {
            **{"grid": grid, "seed": row["seed"], "benchmark": row["benchmark"]},
            **{key: json.dumps(value) for key, value in row["values"].items()},
            "model": row["model"],
            **{key: json.dumps(value) for key, value in row["settings"].items()},
            "key": row["key"],
        }
        for row in rows_of(document.recipes[name], ablation)
    )
    if csv:
        table.to_csv(sys.stdout, index=False, lineterminator="\n")
    else:
        varied = [key.rpartition(".")[2] for key in ablation.vary]
        table = table.drop(columns=varied, errors="ignore")
        same = [column for column in table if table[column].nunique() == 1 and len(table) > 1]
        for column in same:
            print(f"{column}: {table[column].iloc[0]}")
        print(f"\n{table.drop(columns=same).to_markdown(index=False, disable_numparse=True)}")


if __name__ == "__main__":
    run(show_grid)
