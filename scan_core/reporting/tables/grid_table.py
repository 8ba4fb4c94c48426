"""The table of a grid: one row for every cell, seed and benchmark."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from scan_core.errors import InputError
from scan_core.params.metric_names import METRICS
from scan_core.storage.records import read_record


@dataclass(frozen=True)
class Row:
    """Where the numbers of one row are.

    Attributes:
        seed: of the training.
        benchmark: its name.
        values: key path -> value.
        model: the variant that was evaluated.
        label: the key of its settings.
        own: whether these are the settings of the recipe itself.
    """

    seed: int
    benchmark: str
    values: dict[str, Any]
    model: str
    label: str
    own: bool = False


def grid_table(grid: str, rows: Sequence[Row], evaluations: Path) -> str:
    """The table as CSV; varied values are JSON texts, metrics fractions.

    Args:
        grid: its name.
        rows: of the table.
        evaluations: folder with `<model>/<benchmark>/evaluation.json`.

    Raises:
        InputError: an evaluation is missing, or has no such label.
    """
    keys = list(rows[0].values)
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["grid", "seed", "benchmark", *keys, *METRICS, "own"])
    for row in rows:
        path = evaluations / row.model / row.benchmark / "evaluation.json"
        try:
            numbers = read_record(path, "evaluate again")[row.label]["metrics"]
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{path} has no results '{row.label}' ({type(error).__name__}); evaluate again"
            ) from None
        metrics = ["" if numbers[m] is None else f"{numbers[m]:.6f}" for m in METRICS]
        values = [json.dumps(row.values[key]) for key in keys]
        writer.writerow([grid, row.seed, row.benchmark, *values, *metrics, json.dumps(row.own)])
    return text.getvalue()
