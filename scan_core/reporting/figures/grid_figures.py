"""Figures of ablation grids: curves over numbers, bars for everything else."""

import json

import numpy as np
from matplotlib.figure import Figure

from scan_core.reporting.figures.plotting import MARKERS, PALETTE, new_figure, styled
from scan_core.reporting.tables.grids import Grid, estimate, shown

_METRIC = "miou"


@styled
def grid_figure(grid: Grid) -> Figure:
    """Curves if one key is varied over numbers, otherwise bars; error bars over the seeds.

    Curves have a second axis, the change from the grid's smallest value, seed by seed: what a
    setting does is smaller than what lies between benchmarks, and than what lies between seeds.

    Args:
        grid: the grid.
    """
    values = [json.loads(cell[0]) for cell in grid.cells if len(cell) == 1]
    numeric = len(values) == len(grid.cells) and all(type(v) in (int, float) for v in values)
    return _curves(grid) if numeric and len(values) > 1 else _bars(grid)


def _curves(grid: Grid) -> Figure:
    figure, (left, right) = new_figure(10.5, 4.6, 1, 2)
    cells = sorted(grid.cells, key=lambda cell: float(cell[0]))
    positions = [float(cell[0]) for cell in cells]
    for number, benchmark in enumerate(grid.benchmarks):
        runs = [grid.by_seed(cell, benchmark, _METRIC) for cell in cells]
        changes = [
            {seed: value - runs[0][seed] for seed, value in run.items() if seed in runs[0]}
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
    left.set_ylabel("mIoU, %")
    right.set_ylabel(f"change from {cells[0][0]}, percentage points")
    right.axhline(0, color="black", linewidth=0.8)
    for axis in (left, right):
        axis.set_xlabel(grid.keys[0])
        axis.grid()
    figure.suptitle(_title(grid))
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6))
    return figure


def _bars(grid: Grid) -> Figure:
    several = max(len(grid.cells), 1)
    width = max(7.0, 0.24 * len(grid.benchmarks) * (several + 1.5) + 1.5)
    legend_rows = several if grid.keys else 0
    figure, (axis,) = new_figure(width, 3.8 + 0.22 * legend_rows)
    for number, cell in enumerate(grid.cells):
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
            label=", ".join(f"{k} = {shown(v)}" for k, v in zip(grid.keys, cell, strict=True)),
        )
    axis.set_xticks(range(len(grid.benchmarks)), grid.benchmarks)
    if len(grid.benchmarks) > 4:
        axis.tick_params("x", rotation=20)
    axis.set_ylabel("mIoU, %")
    axis.grid(axis="y")
    figure.suptitle(_title(grid))
    if grid.keys:
        figure.legend(loc="outside lower center", ncols=1)
    return figure


def _title(grid: Grid) -> str:
    seeds = {seed for runs in grid.results.values() for seed in runs}
    bars = f"mean and standard error of {len(seeds)} seeds" if len(seeds) > 1 else "one seed"
    return f"{grid.name}: mIoU over classes with ground truth, {bars}"
