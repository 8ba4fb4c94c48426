"""Files of results: read as text, as tables, as fractions, or refused with a plain message."""

import csv
import math
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import Any

from scan_core.errors import InputError


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        InputError: missing, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file: {error}") from None


def read_csv(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Read a CSV file with a header.

    Args:
        path: the file.
        columns: those that must be there.

    Returns:
        its rows, at least one, each a mapping of columns to texts.

    Raises:
        InputError: unreadable, empty, ragged, or a column is missing.
    """
    rows = list(csv.DictReader(StringIO(read_text(path))))
    if not rows:
        raise InputError(f"{path} has no rows; make it again")
    if missing := [column for column in columns if column not in rows[0]]:
        raise InputError(f"{path} lacks the column '{missing[0]}'; make it again")
    if any(None in row or None in row.values() for row in rows):
        raise InputError(f"{path} has rows longer or shorter than its header; make it again")
    return rows


def fraction(place: Path | str, name: str, value: Any) -> float:
    """Check a metric.

    Args:
        place: where it stands, for the message.
        name: of the metric.
        value: a fraction, or None for a metric that does not exist.

    Returns:
        the fraction, or NaN.

    Raises:
        InputError: anything else.
    """
    if value is None:
        return math.nan
    # Tables multiply by 100: a number in per cent must not slip through.
    number = type(value) in (int, float)
    if not number or not (math.isnan(value) or -1e-9 <= value <= 1 + 1e-9):
        raise InputError(f"{place}: {name} is {value!r}, expected a fraction from 0 to 1")
    return float(value)
