"""Results of ablation grids, and what several seeds say together."""

import json
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scan_core.errors import InputError
from scan_core.params.metric_names import METRICS
from scan_core.reporting.reading import fraction, read_csv

_FIXED_COLUMNS = ("grid", "seed", "benchmark", *METRICS)
_OWN = "own"  # a column that may be missing


@dataclass(frozen=True)
class Grid:
    """One ablation grid.

    Attributes:
        name: the grid's.
        keys: the varied keys.
        cells: combinations of values, in the file's order; each value as JSON text.
        benchmarks: in the file's order.
        results: (cell, benchmark) -> seed -> metric -> fraction, or NaN.
        own: (cell, benchmark) of the cells with the recipe's own settings, as far as is known.
    """

    name: str
    keys: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    benchmarks: tuple[str, ...]
    results: dict[tuple[tuple[str, ...], str], dict[int, dict[str, float]]]
    own: frozenset[tuple[tuple[str, ...], str]] = frozenset()

    def by_seed(self, cell: tuple[str, ...], benchmark: str, metric: str) -> dict[int, float]:
        """Seed -> fraction of one cell, without seeds that have no such value."""
        runs = self.results.get((cell, benchmark), {})
        return {seed: run[metric] for seed, run in runs.items() if not math.isnan(run[metric])}


@dataclass(frozen=True)
class Estimate:
    """A mean over `number` values, and its standard error (NaN for fewer than two values)."""

    mean: float
    error: float
    number: int


def estimate(values: Iterable[float]) -> Estimate:
    """Mean and standard error, the sample's deviation over the root of the number of values."""
    known = list(values)
    if not known:
        return Estimate(math.nan, math.nan, 0)
    several = len(known) > 1
    error = statistics.stdev(known) / math.sqrt(len(known)) if several else math.nan
    return Estimate(statistics.fmean(known), error, len(known))


def shown(value: str) -> str:
    """A varied value as people read it: JSON, but a text without its quotation marks."""
    parsed = json.loads(value)
    return parsed if isinstance(parsed, str) else value


def load_grid(path: Path) -> Grid:
    """Read the CSV file of one grid: a row for each cell, seed and benchmark.

    Raises:
        InputError: unreadable or damaged, several grids, or a row that is there twice.
    """
    rows = read_csv(path, _FIXED_COLUMNS)
    keys = tuple(key for key in rows[0] if key not in (*_FIXED_COLUMNS, _OWN))
    own = set()
    results: dict[tuple[tuple[str, ...], str], dict[int, dict[str, float]]] = {}
    for line, row in enumerate(rows, start=2):
        place = f"{path}, row {line}"
        if row["grid"] != rows[0]["grid"]:
            raise InputError(
                f"{place} is of the grid '{row['grid']}', the rows before it of "
                f"'{rows[0]['grid']}'; expected one file for each grid"
            )
        try:
            cell = tuple(json.dumps(json.loads(row[key])) for key in keys)
            seed = int(row["seed"])
            metrics = {name: float(row[name] or "nan") for name in METRICS}
        except ValueError as error:
            raise InputError(
                f"{place} is damaged ({error}); expected a whole seed, varied values as JSON and "
                "metrics as fractions or nothing"
            ) from None
        runs = results.setdefault((cell, row["benchmark"]), {})
        if row.get(_OWN) == "true":
            own.add((cell, row["benchmark"]))
        if seed in runs:
            raise InputError(f"{place}: this cell, benchmark and seed were there before")
        runs[seed] = {name: fraction(place, name, value) for name, value in metrics.items()}
    return Grid(
        name=rows[0]["grid"],
        keys=keys,
        cells=tuple(dict.fromkeys(cell for cell, _ in results)),
        benchmarks=tuple(dict.fromkeys(benchmark for _, benchmark in results)),
        results=results,
        own=frozenset(own),
    )
