"""Tables of a grid: means and standard errors over the seeds, the best and the recipe's own."""

import math

from scan_core.params.metric_names import METRICS
from scan_core.reporting.names import capitalised, key_name, metric_name, value_name
from scan_core.reporting.tables.grids import Estimate, Grid, estimate, shown
from scan_core.reporting.tables.table_text import MISSING, OWN, Table, best_cells, per_cent

_SHOWN = ("miou", "miou_d2_v06", "sg_iou", "miou_seen", "miou_unseen")


def grid_values(grid: Grid) -> Table:
    """For programs: a row for each cell, benchmark and metric, over the seeds, in %.

    Args:
        grid: the grid.
    """
    rows = []
    for cell in grid.cells:
        for benchmark in grid.benchmarks:
            for metric in METRICS:
                value = estimate(grid.by_seed(cell, benchmark, metric).values())
                numbers = (per_cent(value.mean), per_cent(value.error), str(value.number))
                rows.append((*map(shown, cell), benchmark, metric, *numbers))
    return Table(
        title=f"Grid {grid.name}",
        header=(*grid.keys, "benchmark", "metric", "mean", "standard_error", "seeds"),
        rows=tuple(rows),
        text_columns=len(grid.keys) + 2,
    )


def grid_tables(grid: Grid) -> list[Table]:
    """For each kind of mIoU that exists a table of cells and benchmarks, over the seeds.

    A table whose numbers are those of the one before it is left out.

    Args:
        grid: the grid.
    """
    tables: list[Table] = []
    for metric in _SHOWN:
        values = {
            (cell, benchmark): estimate(grid.by_seed(cell, benchmark, metric).values())
            for cell in grid.cells
            for benchmark in grid.benchmarks
        }
        if any(value.number for value in values.values()):
            table = _grid_table(grid, metric, values)
            if not tables or table.rows != tables[-1].rows:
                tables.append(table)
    return tables


def _grid_table(
    grid: Grid, metric: str, values: dict[tuple[tuple[str, ...], str], Estimate]
) -> Table:
    rows = []
    for cell in grid.cells:
        estimates = [values[cell, benchmark] for benchmark in grid.benchmarks]
        numbers = sorted({value.number for value in estimates if value.number})
        seeds = MISSING.join(str(n) for n in dict.fromkeys((*numbers[:1], *numbers[-1:])))
        own = [(cell, benchmark) in grid.own for benchmark in grid.benchmarks]
        words = [value_name(shown(value)) for value in cell]
        if words and all(own):
            words[0] += f" {OWN}"
        cells = [
            _with_error(value) + (f" {OWN}" if mine and not all(own) else "")
            for value, mine in zip(estimates, own, strict=True)
        ]
        rows.append((*words, seeds or "0", *cells))
    first = len(grid.keys) + 1
    keys = "; ".join(f"{key_name(key)}: `{key}`" for key in grid.keys)
    notes = [
        "In %; mean ± standard error over the seeds; the best value of each column in bold.",
        f"{OWN}: the recipe's own setting." if grid.own and grid.keys else "",
        f"`{metric}`: {METRICS[metric].description}.",
        f"{capitalised(keys)}." if keys else "",
    ]
    return Table(
        title=f"Grid {grid.name}: {metric_name(metric)}",
        header=(*map(key_name, grid.keys), "seeds", *grid.benchmarks),
        rows=tuple(rows),
        text_columns=len(grid.keys),
        note=" ".join(note for note in notes if note),
        best=best_cells(rows, range(first, first + len(grid.benchmarks))),
    )


def _with_error(value: Estimate) -> str:
    if math.isnan(value.error):
        return per_cent(value.mean)
    return f"{per_cent(value.mean)} ± {per_cent(value.error)}"
