"""What lies in a folder, as a number that changes with it; no file is read."""

import hashlib
import json
from pathlib import Path


def listing(path: Path) -> str:
    """A hash of names, sizes and times of last change of the files in a folder, or of one file.

    Args:
        path: a folder, those below which are left out, or a file.
    """
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    about = []
    for file in files:
        if file.is_file():
            found = file.stat()
            about.append((file.name, found.st_size, found.st_mtime_ns))
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()
