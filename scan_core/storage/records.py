"""Records that one step writes for the next: JSON objects that say what they hold.

A changed bit of a number is still a number. So a record has a digest of the rest of it, which is
compared when it is read; a record that others wrote may do without.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scan_core.errors import InputError
from scan_core.storage.atomic import write_text

_DIGEST = "record_sha256"


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON object with its digest, atomically."""
    # As it will be read: with texts for keys, and lists for tuples.
    plain = json.loads(json.dumps(record))
    write_text(path, json.dumps({**plain, _DIGEST: _digest(plain)}, indent=1) + "\n")


def read_record(
    path: Path, remedy: str = "delete it, and it is made again", own: bool = False
) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        remedy: what to do about a damaged one, for the message.
        own: whether it comes from `write_record`, so that it must have a digest.

    Returns:
        the object, without its digest.

    Raises:
        InputError: unreadable, damaged, or no object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}")
        digest = found.pop(_DIGEST, None)
        if digest != _digest(found) and (own or digest is not None):
            raise ValueError("its digest is not that of its contents")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; {remedy}") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); {remedy}") from None
    return found


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
