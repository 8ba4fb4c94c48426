"""What a result was made of, in a file beside it: a result of something else is made again.

A workflow engine remembers what it ran. Its memory can be deleted, or results copied to where it
has none. The truth lies with the result.
"""

import json
import os
from pathlib import Path
from typing import Any

# Older than any result: the time of a description that results agree with.
_LONG_AGO = 86_400


def compare(record: Path, wanted: Path) -> bool:
    """Let a description be newer than a result that was made of something else.

    The description is an input of the rule, which a workflow engine runs again where an input is
    newer than a result and has changed.

    Args:
        record: `made_of.json` beside the result; there may be none.
        wanted: the description of what the result would be made of now.

    Returns:
        whether the result may stay.
    """
    description = wanted.read_text(encoding="utf-8")
    stays = not record.exists() or _contents(record) == json.loads(description)
    if stays:
        os.utime(wanted, (_LONG_AGO, _LONG_AGO))
    else:
        # With a line more, so that it differs from what an engine may remember by a checksum.
        wanted.write_text(f"{description}\n", encoding="utf-8")
    return stays


def _contents(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
