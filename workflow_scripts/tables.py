"""Make the tables of a recipe from its evaluations and grids."""

from pathlib import Path

from scan_core.params.command_line import run
from scan_core.params.frozen_recipe import load_frozen
from scan_core.reporting.findings import Findings
from scan_core.reporting.grids import grid_tables, grid_values
from scan_core.reporting.tables import benchmark_metrics, combined_table, write_tables
from scan_core.storage.files import write_text


def tables(found: Findings, output_folder: Path, metrics_folder: Path) -> None:
    """Make the tables of a recipe from its evaluations and grids.

    Args:
        found: its results.
        output_folder: for the tables; recipe.json beside them repeats the recipe.
        metrics_folder: for a JSON file of each benchmark's metrics, which `dvc metrics show` lists.
    """
    note = found.note
    for name, table in found.tables().items():
        write_text(output_folder / f"{name}.csv", table.csv())
        write_tables([table.with_note(note)], output_folder, name)
    write_text(output_folder / "combined.csv", combined_table(found.results).csv())
    write_text(output_folder / "recipe.json", load_frozen(found.recipe_file)[1])
    for grid in found.grids:
        write_text(output_folder / f"ablation_{grid.name}.csv", grid_values(grid))
        of_grid = [table.with_note(note) for table in grid_tables(grid)]
        write_tables(of_grid, output_folder, f"ablation_{grid.name}")
    for benchmark, metrics in benchmark_metrics(found.results).items():
        write_text(metrics_folder / f"{benchmark}.json", metrics)


if __name__ == "__main__":
    run(tables)
