"""Files appear under their final name complete or not at all."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scan_core.errors import DiskFullError


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` and rename it to `target` on success.

    The temporary name keeps the target's suffix (libraries choose a format by it) and holds
    host and process id, so that two writers of the same file never share one. On any exception the
    temporary file is removed and whatever stood at `target` before is left as it was.

    Args:
        target: the final path; missing parent folders are made.

    Yields:
        the path to write to, on the same file system as `target`.

    Raises:
        DiskFullError: there is no space for it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    writer = f"{socket.gethostname()}-{os.getpid()}"
    temporary = target.with_name(f".{target.stem}.{writer}.tmp{target.suffix}")
    try:
        yield temporary
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"the disk is full: {target} could not be written. Free some space and run "
                "again; what is finished is kept."
            ) from error
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed writers left below `folder`.

    Nobody may be writing there at the same time.
    """
    for path in folder.rglob(".*.tmp*"):
        path.unlink()


def write_text(target: Path, text: str) -> None:
    """Write `text` (UTF-8) to `target` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
