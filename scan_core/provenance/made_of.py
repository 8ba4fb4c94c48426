"""What a result was made of, in a file beside it: a result of something else is made again.

A workflow engine remembers what it ran. Its memory can be deleted, or results copied to where it
has none. The truth lies with the result.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Older than any result: the time of a description that results agree with.
_LONG_AGO = 86_400


def compare(records: Sequence[Path], wanted: Path) -> bool:
    """Let a description be newer than results that were made of something else.

    The description is an input of the rule, which a workflow engine runs again where an input is
    newer than a result and has changed.

    Args:
        records: `made_of.json` beside each of the results; they need not be there.
        wanted: the description of what the results would be made of now.

    Returns:
        whether the results may stay.
    """
    description = wanted.read_text(encoding="utf-8")
    parsed = json.loads(description)
    stay = all(not record.exists() or _contents(record) == parsed for record in records)
    if stay:
        os.utime(wanted, (_LONG_AGO, _LONG_AGO))
    else:
        # With a line more, so that it differs from what an engine may remember by a checksum.
        wanted.write_text(f"{description}\n", encoding="utf-8")
    return stay


def is_made(records: Sequence[Path], wanted: Path) -> bool:
    """Whether all results are there, and made of what the description says; see `compare`."""
    parsed = json.loads(wanted.read_text(encoding="utf-8"))
    return all(_contents(record) == parsed for record in records)


def _contents(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
