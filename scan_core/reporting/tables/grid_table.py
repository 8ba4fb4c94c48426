"""The table of a grid: one row for every cell, seed and benchmark."""

import csv
import json
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from scan_core.errors import InputError
from scan_core.params.metric_names import METRICS
from scan_core.storage.records import read_record


def grid_table(grid: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The table as CSV; varied values are JSON texts, metrics fractions.

    Args:
        grid: its name.
        rows: of the table, as `params.grid.rows_of` gives them, each with the file of its
            `evaluation`.

    Raises:
        InputError: an evaluation is missing, or has no such settings.
    """
    keys = list(rows[0]["values"])
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["grid", "seed", "benchmark", *keys, *METRICS, "own"])
    for row in rows:
        path = Path(row["evaluation"])
        try:
            numbers = read_record(path, "evaluate again")[row["key"]]["metrics"]
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{path} has no results '{row['key']}' ({type(error).__name__}); evaluate again"
            ) from None
        metrics = ["" if numbers[m] is None else f"{numbers[m]:.6f}" for m in METRICS]
        values = [json.dumps(row["values"][key]) for key in keys]
        known = [grid, row["seed"], row["benchmark"]]
        writer.writerow([*known, *values, *metrics, json.dumps(row["baseline"])])
    return text.getvalue()
