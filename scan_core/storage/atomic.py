"""Files appear under their final name complete or not at all."""

import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scan_core.storage.full_disk import room_for

_TEMPORARY = re.compile(r"\.(?P<stem>.*)\.(?P<host>[^/]+)-(?P<process>\d+)\.tmp(?P<suffix>[^/]*)")
_LONGEST_NAME = 255  # of a file, bytes
# A writer elsewhere of whom nothing can be learnt is taken for dead after so many seconds without
# a sign of life: far more than any file takes.
_SILENCE = 24 * 3600.0


@contextmanager
def atomic_path(target: Path, size: int | None = None, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `target` and rename it to `target` on success.

    The temporary name keeps the target's suffix (libraries choose a format by it) and holds
    host and process id, so that two writers of the same file never share one. On any exception the
    temporary file is removed and whatever stood at `target` before is left as it was.

    Args:
        target: the final path; missing parent folders are made.
        size: bytes that it will have, as far as that is known; told where the disk is full.
        durable: wait until the file lies on the disk before it gets its name, for what took long
            to make: it then outlives a power cut too.

    Yields:
        the path to write to, on the same file system as `target`.

    Raises:
        DiskFullError: there is no space for it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(target)
    try:
        with room_for(target, size, written=temporary):
            yield temporary
            if durable:
                _on_disk(temporary)
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target` and rename it to `target` on success.

    Args:
        target: the final path; missing parent folders are made. It must not exist, or be empty.

    Yields:
        the empty folder to write to.

    Raises:
        DiskFullError: there is no space for it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(target)
    try:
        with room_for(target, written=temporary):
            temporary.mkdir()
            yield temporary
            temporary.replace(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _temporary(target: Path) -> Path:
    """A name beside `target` that no other writer has, with its suffix."""
    writer = f"{socket.gethostname()}-{os.getpid()}"
    end = f".{writer}.tmp{target.suffix}"
    return target.with_name(f".{_shortened(target.stem, _LONGEST_NAME - len(end) - 1)}{end}")


def _shortened(stem: str, most: int) -> str:
    """At most so many bytes, different for different stems."""
    content = os.fsencode(stem)
    if len(content) <= most:
        return stem
    digest = hashlib.sha256(content).hexdigest()[:16]
    return content[: most - len(digest)].decode(errors="ignore") + digest


def remove_leftovers(folder: Path, below: bool = True, before: float | None = None) -> int:
    """Remove the temporary files that killed writers have left; their number.

    Those of writers that live, or may live, stay.

    Args:
        folder: where to look; it may be missing.
        below: also in the folders below it.
        before: seconds since the epoch; whoever wrote last before is known to be dead.
    """
    paths = folder.rglob(".*.tmp*") if below else folder.glob(".*.tmp*")
    return sum(_removed_if_dead(path, before) for path in paths)


def _removed_if_dead(path: Path, before: float | None) -> bool:
    match = _TEMPORARY.fullmatch(path.name)
    if match is None:
        return False
    with suppress(OSError):
        written = path.stat().st_mtime
        dead = before is not None and written < before
        if match["host"] == socket.gethostname():
            dead = dead or not Path(f"/proc/{match['process']}").exists()
        else:
            dead = dead or time.time() - written > _SILENCE
        if dead:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            return True
    return False


def _on_disk(path: Path) -> None:
    """Wait until a file's content has left the memory; a full disk may show only then."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_text(target: Path, text: str) -> None:
    """Write `text` (UTF-8) to `target` atomically."""
    write_bytes(target, text.encode())


def write_bytes(target: Path, content: bytes) -> None:
    """Write `content` to `target` atomically."""
    with atomic_path(target, len(content)) as temporary:
        temporary.write_bytes(content)
