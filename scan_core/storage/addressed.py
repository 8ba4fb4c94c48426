"""Files named by their contents: what is longer than a command line may be."""

import hashlib
import os
from pathlib import Path

from scan_core.storage.atomic import write_text

_LONG_AGO = 86_400


def write_addressed(folder: Path, text: str) -> Path:
    """Write a text to a file that is named by it, and return the file.

    Equal texts share a file, and another text is another name, by which a workflow notices it.

    Args:
        folder: of such files.
        text: JSON.
    """
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if not path.is_file():
        write_text(path, text)
        # What it says is new, not the file: nothing that agrees with it is older.
        os.utime(path, (_LONG_AGO, _LONG_AGO))
    return path
