"""Tables and figures of ablation grids: mean and standard error over the seeds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scan_core.errors import InputError
from scan_core.evaluation.intervals import Estimate, differences, interval, load_cell
from scan_core.params.frozen_recipe import load_frozen
from scan_core.params.metric_names import METRICS
from scan_core.reporting.figures import MARKERS, PALETTE, new_figure, styled
from scan_core.reporting.results import (
    SPREAD,
    as_fractions,
    capitalised,
    excludes_zero,
    key_name,
    ordered,
    read_table,
    spread,
)
from scan_core.reporting.tables import MISSING, Table, best_cells, percent, rounded
from scan_core.storage.files import write_text

BASELINE = "◂"  # marks the settings of the recipe itself
_SHOWN = ("miou", "miou_d2_v06", "sg_iou", "miou_seen", "miou_unseen")
_FIXED = ("grid", "seed", "benchmark", *METRICS, "baseline")
# Of each metric that tables show: its interval over the images, and how much a cell is above the
# recipe's own setting, with the paired interval; both of the mean over the cell's seeds.
_SPREAD = [f"{m}{end}" for m in _SHOWN for end in SPREAD]
_WORDS = {"true": "on", "false": "off"}
_LEAST_RANGE = 2.0  # percentage points that the axis of changes shows at least: noise stays small
_LONGEST_LEGEND = 60  # characters for a legend that stands in columns


@dataclass(frozen=True)
class Grid:
    """One ablation grid.

    Attributes:
        name: the grid's.
        keys: the varied keys.
        rows: a row for each combination of values, seed and benchmark, with the columns of the
            CSV; varied values are texts, benchmarks categories in the file's order, and `cell` is
            the number of the combination.
    """

    name: str
    keys: list[str]
    rows: pd.DataFrame

    @property
    def seeds(self) -> str:
        """Of how many seeds the numbers are, in words."""
        runs = self.groups().size()
        few, most = runs.min(), runs.max()
        number = str(most) if few == most else f"{few} to {most}"
        return "one seed" if most == 1 else f"{number} seeds"

    @property
    def title(self) -> str:
        """The grid's name as a heading."""
        return capitalised(self.name.replace("_", " "))

    def names(self) -> list[str]:
        """The varied keys in words, if these differ."""
        names = [key_name(key) for key in self.keys]
        return names if len(set(names)) == len(names) else self.keys

    def words(self) -> pd.DataFrame:
        """The varied values as people read them, a row for each cell."""
        values = self.rows.drop_duplicates("cell").sort_values("cell", ignore_index=True)
        return values[self.keys].replace(_WORDS).set_axis(self.names(), axis="columns")

    def baseline(self) -> pd.DataFrame:
        """Where the numbers are of the recipe's own settings, in the form of the tables."""
        return self.wide(self.groups()["baseline"].all()).fillna(False)

    def texts(self, metric: str) -> "pd.Series[Any]":
        """Mean and standard error over the seeds, and the interval over the images, in %.

        A star marks intervals of the difference to the recipe's own setting that exclude zero.
        """
        groups = self.groups()
        mean, error = 100 * groups[metric].mean(), 100 * groups[metric].sem()
        low, high, _, gain_low, gain_high = (groups[f"{metric}{end}"].first() for end in SPREAD)
        errors = (" ± " + error.map(rounded)).where(error.notna(), "")
        ends = [(100 * end).map(rounded, decimals=1) for end in (low, high)]
        bounds = (" [" + ends[0] + ", " + ends[1] + "]").where(low.notna(), "")
        mark = np.where(excludes_zero(gain_low, gain_high), "*", "")
        return mean.map(rounded, decimals=2) + errors + bounds + mark

    def wide(self, values: "pd.Series[Any]") -> pd.DataFrame:
        """A row for each cell, indexed by it and its values, a column for each benchmark."""
        frame = values.rename("value").reset_index()
        wide = frame.pivot(index=["cell", *self.keys], columns="benchmark", values="value")
        return wide.set_axis(wide.columns.astype(str), axis="columns")

    def groups(self) -> "pd.api.typing.DataFrameGroupBy[Any, Any]":
        """The seeds of each cell on each benchmark."""
        return self.rows.groupby(["cell", *self.keys, "benchmark"], observed=True)


def ablate(grid: str, plan: Path, output: Path) -> None:
    """Write the table of a grid from the evaluations of its cells.

    It has a row for each combination of values, seed and benchmark. Varied values are JSON texts,
    metrics fractions, and intervals those of the mean over the seeds.

    Args:
        grid: its name.
        plan: JSON file with the rows of the grid, each with the file and the key of its numbers.
        output: CSV to write.

    Raises:
        InputError: an evaluation lacks the settings of a row.
    """
    rows, _ = load_frozen(plan)
    load = cache(load_cell)  # the recipe's own is compared with every cell

    def loaded(*chosen: Mapping[str, Any]) -> Estimate:
        return load(tuple((Path(one["evaluation"]).parent, one["key"]) for one in chosen))

    table = []
    for row in rows:
        alike = [one for one in rows if one["benchmark"] == row["benchmark"]]
        cell = loaded(*(one for one in alike if one["values"] == row["values"]))
        own = [one for one in alike if one["baseline"]]
        gains = differences(cell, loaded(*own)) if own else {}
        of_seed = loaded(row).metrics
        table.append(
            {"grid": grid, "seed": row["seed"], "benchmark": row["benchmark"]}
            | {key: json.dumps(value) for key, value in row["values"].items()}
            | {name: of_seed[name] for name in METRICS}
            | spread(_SHOWN, {name: interval(cell.values[name]) for name in _SHOWN}, gains)
            | {"baseline": json.dumps(row["baseline"])}
        )
    frame = pd.DataFrame(table).astype(dict.fromkeys(METRICS, float))
    write_text(output, frame.to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def load_grid(path: Path) -> Grid:
    """Read the table of one grid, see `ablate`.

    Raises:
        InputError: damaged, or a row is there twice.
    """
    # A table of an earlier version lacks the metrics that are newer than it.
    needed = ("grid", "seed", "benchmark", *_SHOWN, "baseline")
    rows = as_fractions(path, read_table(path, needed, [*METRICS, *_SPREAD]))
    keys = [str(column) for column in rows if column not in (*_FIXED, *_SPREAD)]
    if rows["grid"].nunique() > 1 or rows.duplicated([*keys, "benchmark", "seed"]).any():
        raise InputError(f"{path} is of several grids, or has a row twice; make it again")
    try:
        rows[keys] = rows[keys].map(_shown)
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); expected varied values as JSON") from None
    return Grid(
        name=rows["grid"].iloc[0],
        keys=keys,
        rows=rows.reindex(columns=rows.columns.union(_SPREAD, sort=False)).assign(
            seed=rows["seed"].astype(int),
            benchmark=ordered(rows["benchmark"]),
            baseline=rows["baseline"] == "true",
            cell=rows.groupby(keys, sort=False).ngroup() if keys else 0,
        ),
    )


def _shown(value: str) -> str:
    """A varied value as people read it: JSON, but a text without its quotation marks."""
    parsed = json.loads(value)
    return parsed if isinstance(parsed, str) else json.dumps(parsed)


def grid_values(grid: Grid) -> str:
    """For programs: a row for each combination, benchmark and metric, in %, as CSV."""
    numbers = grid.groups()[list(METRICS)].agg(["mean", "sem", "count"])
    numbers = numbers.rename_axis(columns=["metric", "statistic"])
    table = pd.DataFrame(numbers.stack(level="metric", future_stack=True)).reset_index()
    table[["mean", "sem"]] = percent(table[["mean", "sem"]])
    table = table.rename(columns={"sem": "standard_error", "count": "seeds"})
    return table.drop(columns="cell").to_csv(index=False, lineterminator="\n")


def grid_tables(grid: Grid) -> list[Table]:
    """For each kind of mIoU that exists a table of combinations and benchmarks, over the seeds.

    A table whose numbers are those of the one before it is left out.
    """
    names, baseline = grid.names(), grid.baseline()
    every = baseline.all(axis=1)
    one_seed = grid.seeds == "one seed"
    over = "" if one_seed else "mean ± standard error over "
    notes = [f"In %; {over}{grid.seeds}; the best value of each column in bold."]
    if grid.keys and baseline.any(axis=None):
        notes.append(f"{BASELINE}: the recipe's own setting.")
    notes.append(
        "In brackets the 95 % interval over the images of the test set, not over trainings"
        + ("" if one_seed else ", of the mean over the seeds")
        + "; *: the paired difference to the recipe's own setting has an interval without zero."
    )
    keys = "; ".join(f"{name}: `{key}`" for name, key in zip(names, grid.keys, strict=True))
    tables: list[Table] = []
    for metric in _SHOWN:
        if grid.rows[metric].isna().all():
            continue
        cells, words = grid.wide(grid.texts(metric)).fillna(MISSING), grid.words()
        if grid.keys:
            first = words[names[0]]
            words[names[0]] = first.mask(every.to_numpy(), first + f" {BASELINE}")
            some = baseline[~every].reindex(baseline.index, fill_value=False)
            cells = cells.mask(some, cells + f" {BASELINE}")
        table = pd.concat([words, cells.reset_index(drop=True)], axis=1)
        if not tables or not table.equals(tables[-1].cells):
            explained = [f"`{metric}`: {METRICS[metric].description}."]
            explained += [f"{capitalised(keys)}."] if keys else []
            tables.append(
                Table(
                    title=f"Grid {grid.name}: {METRICS[metric].name}",
                    cells=table,
                    words=len(names),
                    note=" ".join([*notes, *explained]),
                    best=best_cells(table, len(names)),
                )
            )
    return tables


@styled
def grid_figure(grid: Grid) -> Figure:
    """Curves if one key is varied over numbers, otherwise bars; error bars over the seeds.

    Curves have a second axis, the change from the recipe's own value, or from the grid's smallest
    where that is not one value of the grid, seed by seed: what a setting does is smaller than what
    lies between benchmarks, and than what lies between seeds.
    """
    if len(grid.keys) == 1 and grid.rows["cell"].nunique() > 1:
        values = pd.to_numeric(grid.rows[grid.keys[0]], errors="coerce")
        if values.notna().all():
            return _curves(grid, grid.rows.assign(value=values))
    return _bars(grid)


def _curves(grid: Grid, rows: pd.DataFrame) -> Figure:
    figure, (left, right) = new_figure(10.5, 4.6, 1, 2)
    own = rows.groupby("value")["baseline"].all()
    baseline = next(iter(own.index[own]), None)
    base = rows["value"].min() if baseline is None else baseline
    runs = rows.pivot(index=["benchmark", "seed"], columns="value", values="miou")
    for axis, series in ((left, runs), (right, runs.sub(runs[base], axis="index"))):
        over_seeds = series.groupby("benchmark", observed=True)
        means, errors = 100 * over_seeds.mean(), 100 * over_seeds.sem()
        for number, benchmark in enumerate(means.index):
            axis.errorbar(
                means.columns,
                means.loc[benchmark],
                yerr=errors.loc[benchmark],
                color=PALETTE[number % len(PALETTE)],
                # With the eighth benchmark colours repeat, pairs of colour and marker do not.
                marker=MARKERS[(number + number // len(PALETTE)) % len(MARKERS)],
                markersize=5,
                capsize=3,
                label=benchmark,
            )
        if baseline is not None:
            label = "recipe's value"
            axis.axvline(baseline, color="#666666", linewidth=1, linestyle=":", label=label)
        axis.set_xlabel(capitalised(grid.names()[0]))
        axis.grid()
    left.set(ylabel="mIoU, %", ylim=(0, None))
    right.axhline(0, color="black", linewidth=0.8)
    low, high = right.get_ylim()
    missing = max(0.0, _LEAST_RANGE - (high - low)) / 2
    label = f"change from {base:g}, percentage points"
    right.set(ylabel=label, ylim=(low - missing, high + missing))
    figure.suptitle(_title(grid))
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4))
    return figure


def _bars(grid: Grid) -> Figure:
    miou, own = grid.groups()["miou"], grid.baseline()
    means, errors = grid.wide(100 * miou.mean()), grid.wide(100 * miou.sem())
    labels = [
        ", ".join(f"{name}: {value}" for name, value in values.items())
        + (f" {BASELINE}" if every else "")
        for values, every in zip(grid.words().to_dict("records"), own.all(axis=1), strict=True)
    ]
    several, benchmarks = means.shape
    width = max(7.0, 0.24 * benchmarks * (several + 1.5) + 1.5)
    columns = max(1, min(several, 3, int(_LONGEST_LEGEND / max(map(len, labels), default=1))))
    legend_rows = -(-several // columns) if grid.keys else 0
    figure, (axis,) = new_figure(width, 3.8 + 0.22 * legend_rows)
    for number, label in enumerate(labels):
        axis.bar(
            [place + (number - (several - 1) / 2) * 0.8 / several for place in range(benchmarks)],
            means.iloc[number],
            0.8 / several * 0.94,
            yerr=errors.iloc[number],
            capsize=3,
            color=PALETTE[number % len(PALETTE)],
            # Colours repeat after seven cells, colour and hatching do not.
            hatch="" if number < len(PALETTE) else "///",
            edgecolor="white",
            label=label,
        )
    axis.set_xticks(range(benchmarks), list(means.columns))
    if benchmarks > 4:
        axis.tick_params("x", rotation=20)
    axis.set_ylabel("mIoU, %")
    axis.grid(axis="y")
    marked = f"; {BASELINE} the recipe's own" if grid.keys and own.all(axis=1).any() else ""
    figure.suptitle(_title(grid) + marked)
    if grid.keys:
        figure.legend(loc="outside lower center", ncols=columns)
    return figure


def _title(grid: Grid) -> str:
    over = "one seed" if grid.seeds == "one seed" else f"mean and standard error of {grid.seeds}"
    return f"{grid.title}: mIoU over classes with ground truth\n{over}"
