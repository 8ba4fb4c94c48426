"""Records that one step writes for the next, as JSON objects."""

import json
from pathlib import Path
from typing import Any

from scan_core.errors import InputError


def read_record(path: Path, remedy: str = "delete it, and it is made again") -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        remedy: what to do about a damaged one, for the message.

    Raises:
        InputError: unreadable, damaged, or no object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; {remedy}") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); {remedy}") from None
    return found
