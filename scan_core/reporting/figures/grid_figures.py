"""Figures of ablation grids: curves over numbers, bars for everything else."""

import json

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scan_core.reporting.figures.plotting import MARKERS, PALETTE, new_figure, styled
from scan_core.reporting.names import capitalised, key_name, value_name
from scan_core.reporting.tables.grids import Grid, estimate, shown
from scan_core.reporting.tables.table_text import OWN

_METRIC = "miou"
_LEAST_RANGE = 2.0  # percentage points that the axis of changes shows at least
_LONGEST_LEGEND = 60  # characters for a legend that stands in columns


@styled
def grid_figure(grid: Grid) -> Figure:
    """Curves if one key is varied over numbers, otherwise bars; error bars over the seeds.

    Curves have a second axis, the change from the recipe's own value, or from the grid's smallest
    where that is not one value of the grid, seed by seed: what a setting does is smaller than what
    lies between benchmarks, and than what lies between seeds.

    Args:
        grid: the grid.
    """
    values = [json.loads(cell[0]) for cell in grid.cells if len(cell) == 1]
    numeric = len(values) == len(grid.cells) and all(type(v) in (int, float) for v in values)
    return _curves(grid) if numeric and len(values) > 1 else _bars(grid)


def _own_cell(grid: Grid) -> tuple[str, ...] | None:
    """The cell with the recipe's own settings on every benchmark, if there is one."""
    return next((c for c in grid.cells if all((c, b) in grid.own for b in grid.benchmarks)), None)


def _curves(grid: Grid) -> Figure:
    figure, (left, right) = new_figure(10.5, 4.6, 1, 2)
    cells = sorted(grid.cells, key=lambda cell: float(cell[0]))
    positions = [float(cell[0]) for cell in cells]
    own = _own_cell(grid)
    base = own or cells[0]
    for number, benchmark in enumerate(grid.benchmarks):
        runs = [grid.by_seed(cell, benchmark, _METRIC) for cell in cells]
        based = grid.by_seed(base, benchmark, _METRIC)
        changes = [
            {seed: value - based[seed] for seed, value in run.items() if seed in based}
            for run in runs
        ]
        for axis, series in ((left, runs), (right, changes)):
            estimates = [estimate(run.values()) for run in series]
            axis.errorbar(
                positions,
                [100 * e.mean for e in estimates],
                yerr=[100 * e.error for e in estimates],
                color=PALETTE[number % len(PALETTE)],
                # With the eighth benchmark colours repeat, pairs of colour and marker do not.
                marker=MARKERS[(number + number // len(PALETTE)) % len(MARKERS)],
                markersize=5,
                capsize=3,
                label=benchmark,
            )
    key = capitalised(key_name(grid.keys[0]))
    left.set_ylabel("mIoU, %")
    right.set_ylabel(f"change from {shown(base[0])}, percentage points")
    right.axhline(0, color="black", linewidth=0.8)
    _at_least(right, _LEAST_RANGE)
    for axis in (left, right):
        if own is not None:
            axis.axvline(
                float(own[0]), color="#666666", linewidth=1, linestyle=":", label="recipe's value"
            )
        axis.set_xlabel(key)
        axis.grid()
    left.set_ylim(bottom=0)
    figure.suptitle(_title(grid))
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4))
    return figure


def _at_least(axis: Axes, points: float) -> None:
    """Show no smaller a range than this, so that noise is not stretched over the axis."""
    low, high = axis.get_ylim()
    missing = max(0.0, points - (high - low)) / 2
    axis.set_ylim(low - missing, high + missing)


def _bars(grid: Grid) -> Figure:
    several = max(len(grid.cells), 1)
    width = max(7.0, 0.24 * len(grid.benchmarks) * (several + 1.5) + 1.5)
    labels = [_label(grid, cell) for cell in grid.cells]
    columns = max(1, min(several, 3, int(_LONGEST_LEGEND / max(map(len, labels), default=1))))
    legend_rows = -(-several // columns) if grid.keys else 0
    figure, (axis,) = new_figure(width, 3.8 + 0.22 * legend_rows)
    for number, (cell, label) in enumerate(zip(grid.cells, labels, strict=True)):
        estimates = [estimate(grid.by_seed(cell, b, _METRIC).values()) for b in grid.benchmarks]
        axis.bar(
            np.arange(len(grid.benchmarks)) + (number - (several - 1) / 2) * 0.8 / several,
            [100 * e.mean for e in estimates],
            0.8 / several * 0.94,
            yerr=[100 * e.error for e in estimates],
            capsize=3,
            color=PALETTE[number % len(PALETTE)],
            # Colours repeat after seven cells, colour and hatching do not.
            hatch="" if number < len(PALETTE) else "///",
            edgecolor="white",
            label=label,
        )
    axis.set_xticks(range(len(grid.benchmarks)), grid.benchmarks)
    if len(grid.benchmarks) > 4:
        axis.tick_params("x", rotation=20)
    axis.set_ylabel("mIoU, %")
    axis.grid(axis="y")
    own = f"; {OWN} the recipe's own" if grid.keys and _own_cell(grid) else ""
    figure.suptitle(_title(grid) + own)
    if grid.keys:
        figure.legend(loc="outside lower center", ncols=columns)
    return figure


def _label(grid: Grid, cell: tuple[str, ...]) -> str:
    words = ", ".join(
        f"{key_name(key)}: {value_name(shown(value))}"
        for key, value in zip(grid.keys, cell, strict=True)
    )
    return f"{words} {OWN}" if cell == _own_cell(grid) else words


def _title(grid: Grid) -> str:
    seeds = {seed for runs in grid.results.values() for seed in runs}
    bars = f"mean and standard error of {len(seeds)} seeds" if len(seeds) > 1 else "one seed"
    name = capitalised(grid.name.replace("_", " "))
    return f"{name}: mIoU over classes with ground truth, {bars}"
