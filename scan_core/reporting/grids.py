"""Tables and figures of ablation grids: mean and standard error over the seeds."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scan_core.errors import InputError
from scan_core.evaluation.intervals import Bounds, Cell, differences, intervals, load_cell
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
)
from scan_core.reporting.tables import MISSING, Table, best_cells, rounded
from scan_core.storage.files import read_json

BASELINE = "◂"  # marks the settings of the recipe itself
_SHOWN = ("miou", "miou_d2_v06", "sg_iou", "miou_seen", "miou_unseen")
_FIXED = ("grid", "seed", "benchmark", *METRICS, "baseline")
# Of each metric that tables show: its interval over the images, and how much a cell is above the
# recipe's own setting, with the paired interval; both of the mean over the cell's seeds.
_SPREAD = [f"{m}{end}" for m in _SHOWN for end in SPREAD]
_WORDS = {"true": "on", "false": "off"}
_LEAST_RANGE = 2.0  # percentage points that the axis of changes shows at least
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
        runs = self._groups().size()
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
        return self.wide(self._groups()["baseline"].all()).fillna(False)

    def summary(self) -> pd.DataFrame:
        """Mean, standard error and number of the seeds, in %.

        Returns:
            indexed by cell, varied values, benchmark and metric.
        """
        wide = self._groups()[list(METRICS)].agg(["mean", "sem", "count"])
        wide = wide.rename_axis(columns=["metric", "statistic"])
        table = wide.stack(level="metric", future_stack=True)
        return table.assign(mean=100 * table["mean"], sem=100 * table["sem"])

    def spread(self) -> pd.DataFrame:
        """The interval over the images of every shown metric, marked where a cell differs."""
        rows = self._groups().first()
        found: dict[str, pd.Series[Any]] = {}
        for metric in _SHOWN:
            low, high, _, gain_low, gain_high = (rows[f"{metric}{end}"] for end in SPREAD)
            text = " [" + (100 * low).map(_one) + ", " + (100 * high).map(_one) + "]"
            mark = np.where(excludes_zero(gain_low, gain_high), "*", "")
            found[metric] = text.where(low.notna(), "") + mark
        return pd.DataFrame(found)

    def wide(self, values: "pd.Series[Any]") -> pd.DataFrame:
        """A row for each cell, indexed by it and its values, a column for each benchmark."""
        frame = values.rename("value").reset_index()
        wide = frame.pivot(index=["cell", *self.keys], columns="benchmark", values="value")
        return wide.set_axis(wide.columns.astype(str), axis="columns")

    def _groups(self) -> "pd.api.typing.DataFrameGroupBy[Any, Any]":
        return self.rows.groupby(["cell", *self.keys, "benchmark"], observed=True)


def grid_csv(grid: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The one table of a grid: a row for each combination of values, seed and benchmark.

    Args:
        grid: its name.
        rows: of `params.grid`, each with its `evaluation`, a file of results by settings.

    Returns:
        CSV; varied values are JSON texts, metrics fractions.

    Raises:
        InputError: an evaluation lacks the settings of a row.
    """
    table = []
    load = cache(load_cell)  # the recipe's own is compared with every cell
    for row in rows:
        path = Path(row["evaluation"])
        try:
            metrics = read_json(path, "evaluate again")[row["key"]]["metrics"]
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{path} has no results of the settings {row['key']} "
                f"({type(error).__name__}); evaluate again"
            ) from None
        values = {key: json.dumps(value) for key, value in row["values"].items()}
        about = {"grid": grid, "seed": row["seed"], "benchmark": row["benchmark"]}
        numbers = {name: metrics[name] for name in METRICS} | _spread(row, rows, load)
        table.append(about | values | numbers | {"baseline": json.dumps(row["baseline"])})
    frame = pd.DataFrame(table).astype(dict.fromkeys(METRICS, float))
    return frame.to_csv(index=False, float_format="%.6f", lineterminator="\n")


def _spread(
    row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], load: Callable[..., Cell]
) -> dict[str, Any]:
    """The columns `_SPREAD` of a row, as far as the evaluations have intervals.

    They are of the mean over the seeds of its cell, against that of the recipe's own setting.
    """
    if "intervals" not in read_json(Path(row["evaluation"]), "evaluate again")[row["key"]]:
        return {}
    alike = [one for one in rows if one["benchmark"] == row["benchmark"]]
    cells = [
        load(tuple((Path(one["evaluation"]).parent, one["key"]) for one in chosen))
        for chosen in (
            [one for one in alike if one["values"] == row["values"]],
            [one for one in alike if one["baseline"]],
        )
        if chosen
    ]
    bounds = intervals({metric: cells[0][1][metric] for metric in _SHOWN})
    gains: Bounds = {}
    if len(cells) == 2:
        gains = differences((cells[0][0], cells[1][0]), (cells[0][1], cells[1][1]))
    return {
        f"{metric}{end}": value
        for metric in _SHOWN
        for end, value in zip(
            SPREAD,
            [*(bounds[metric] or [np.nan] * 2), *(gains.get(metric) or [np.nan] * 3)],
            strict=True,
        )
    }


def load_grid(path: Path) -> Grid:
    """Read the table of one grid, see `grid_csv`.

    Raises:
        InputError: damaged, or a row is there twice.
    """
    # A table of an earlier version lacks the metrics that are newer than it.
    needed = ("grid", "seed", "benchmark", *_SHOWN, "baseline")
    rows = read_table(path, needed, METRICS)
    newer = [metric for metric in METRICS if metric not in rows]
    rows = as_fractions(path, rows.assign(**dict.fromkeys(newer, np.nan)))
    keys = [str(column) for column in rows if column not in (*_FIXED, *_SPREAD)]
    spread = rows.reindex(columns=_SPREAD).replace("", "nan").astype(float)
    if rows["grid"].nunique() > 1 or rows.duplicated([*keys, "benchmark", "seed"]).any():
        raise InputError(f"{path} is of several grids, or has a row twice; make it again")
    try:
        rows[keys] = rows[keys].map(_shown)
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); expected varied values as JSON") from None
    return Grid(
        name=rows["grid"].iloc[0],
        keys=keys,
        rows=rows.assign(
            **spread,
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
    table = grid.summary().reset_index().drop(columns="cell")
    table[["mean", "sem"]] = table[["mean", "sem"]].map(rounded)
    return table.rename(columns={"sem": "standard_error", "count": "seeds"}).to_csv(
        index=False, lineterminator="\n"
    )


def grid_tables(grid: Grid) -> list[Table]:
    """For each kind of mIoU that exists a table of combinations and benchmarks, over the seeds.

    A table whose numbers are those of the one before it is left out.
    """
    summary = grid.summary()
    text = summary["mean"].map(rounded) + summary["sem"].map(_plus_minus)
    spread = grid.spread()
    names, baseline = grid.names(), grid.baseline()
    over = "" if grid.seeds == "one seed" else "mean ± standard error over "
    notes = [f"In %; {over}{grid.seeds}; the best value of each column in bold."]
    if grid.keys and baseline.any(axis=None):
        notes.append(f"{BASELINE}: the recipe's own setting.")
    if grid.rows["miou_low"].notna().any():
        notes.append(
            "In brackets the 95 % interval over the images of the test set, not over trainings"
            + ("" if grid.seeds == "one seed" else ", of the mean over the seeds")
            + "; *: the paired difference to the recipe's own setting has an interval without zero."
        )
    tables: list[Table] = []
    for metric in _SHOWN:
        if not summary["count"].xs(metric, level="metric").any():
            continue
        of_metric = text.xs(metric, level="metric")
        of_metric = of_metric + spread[metric].reindex(of_metric.index).fillna("")
        cells = grid.wide(of_metric).fillna(MISSING)
        words = grid.words()
        every = baseline.all(axis=1).to_numpy()
        if grid.keys:
            first = words[names[0]]
            words[names[0]] = first.mask(every, first + f" {BASELINE}")
            some = baseline & ~np.broadcast_to(every[:, None], baseline.shape)
            cells = cells.mask(some, cells + f" {BASELINE}")
        table = pd.concat([words, cells.reset_index(drop=True)], axis=1)
        explained = [f"`{metric}`: {METRICS[metric].description}."]
        if grid.keys:
            pairs = zip(names, grid.keys, strict=True)
            keys = "; ".join(f"{name}: `{key}`" for name, key in pairs)
            explained.append(f"{capitalised(keys)}.")
        if not tables or not table.equals(tables[-1].cells):
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


def _one(value: float) -> str:
    return rounded(value, 1)


def _plus_minus(error: float) -> str:
    return "" if np.isnan(error) else f" ± {rounded(error)}"


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
    left.set_ylabel("mIoU, %")
    left.set_ylim(bottom=0)
    right.set_ylabel(f"change from {base:g}, percentage points")
    right.axhline(0, color="black", linewidth=0.8)
    _at_least(right, _LEAST_RANGE)
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
    summary = grid.summary().xs("miou", level="metric")
    means, errors, own = grid.wide(summary["mean"]), grid.wide(summary["sem"]), grid.baseline()
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
