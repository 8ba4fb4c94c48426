"""A hash of source files, by which a workflow tells that code has changed."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from scan_core.errors import InputError


def source_hash(root: Path, patterns: Iterable[str]) -> str:
    """Hash the contents of source files.

    Unlike time stamps it survives a checkout, and it sees imported modules.

    Args:
        root: the project's root.
        patterns: glob patterns relative to `root`, such as `scan_core/datasets/*.py`.

    Returns:
        12 hexadecimal digits.

    Raises:
        InputError: a pattern matches no file.
    """
    digest = hashlib.sha256()
    for pattern in patterns:
        files = sorted(path for path in root.glob(pattern) if path.is_file())
        if not files:
            raise InputError(f"no source file matches {pattern} in {root}")
        for path in files:
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
