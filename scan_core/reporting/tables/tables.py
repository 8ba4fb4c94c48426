"""All tables of a recipe, as files: its benchmarks, the published numbers, its grids."""

from collections.abc import Sequence
from pathlib import Path

from scan_core.errors import InputError
from scan_core.reporting.results import Evaluation, GivenMethod
from scan_core.reporting.tables.grid_tables import grid_tables, grid_values
from scan_core.reporting.tables.grids import Grid
from scan_core.reporting.tables.published_table import published_table
from scan_core.reporting.tables.result_tables import (
    benchmark_metrics,
    combined_values,
    detail_table,
    main_table,
)
from scan_core.reporting.tables.table_text import html_page
from scan_core.storage.atomic import write_text


def write_tables(
    evaluations: Sequence[Evaluation],
    grids: Sequence[Grid],
    recipe: str,
    architecture: str,
    output_folder: Path,
    given: Sequence[GivenMethod] = (),
) -> None:
    """Write `main`, `details`, `published` and `ablation_<grid>` as CSV, Markdown, LaTeX, HTML.

    `combined.csv`, for programs that draw, has a row for each benchmark.

    Args:
        evaluations: of one model, at least one.
        grids: of the same recipe.
        recipe: its name.
        architecture: of its CLIP, such as `ViT-L-14`; it selects the paper's row.
        output_folder: where to write, each file atomically.
        given: predictions of other models.

    Raises:
        InputError: an evaluation of another recipe, or a grid that is there twice.
    """
    for evaluation in evaluations:
        if evaluation.recipe != recipe:
            raise InputError(
                f"{evaluation.file} is of the recipe '{evaluation.recipe}', expected '{recipe}'; "
                "evaluate that recipe, or name the other"
            )
    names = [grid.name for grid in grids]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"the grid '{repeated}' is given twice; give each grid's file once")
    tables = {
        "main": main_table(evaluations, given),
        "details": detail_table(evaluations, given),
        "published": published_table(evaluations, architecture, given),
    }
    for name, table in tables.items():
        write_text(output_folder / f"{name}.csv", table.csv())
        write_text(output_folder / f"{name}.md", table.markdown())
        write_text(output_folder / f"{name}.tex", table.latex())
        write_text(output_folder / f"{name}.html", html_page([table]))
    write_text(output_folder / "combined.csv", combined_values(evaluations).csv())
    for grid in grids:
        stem = f"ablation_{grid.name}"
        write_text(output_folder / f"{stem}.csv", grid_values(grid).csv())
        write_grid(grid, output_folder, stem)
        write_text(output_folder / f"{stem}.html", html_page(grid_tables(grid)))


def write_grid(grid: Grid, folder: Path, stem: str) -> None:
    """Write the tables of a grid as `<stem>.md` and `<stem>.tex`.

    Args:
        grid: the grid.
        folder: where to write.
        stem: name without suffix.
    """
    tables = grid_tables(grid)
    write_text(folder / f"{stem}.md", "\n".join(table.markdown() for table in tables))
    write_text(folder / f"{stem}.tex", "\n".join(table.latex() for table in tables))


def write_metrics(evaluations: Sequence[Evaluation], folder: Path) -> None:
    """Write `<benchmark>.json` for each benchmark, which `dvc metrics` shows as a row.

    Args:
        evaluations: of one model.
        folder: where to write.
    """
    for evaluation in evaluations:
        write_text(folder / f"{evaluation.benchmark}.json", benchmark_metrics(evaluation))
