"""One message for a disk without room, whatever library met it, and whatever it said."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scan_core.errors import DiskFullError, InputError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_KEPT = "what is finished"
_BLOCK = 1 << 16


@contextmanager
def room_for(
    target: Path, size: int | None = None, kept: str = _KEPT, written: Path | None = None
) -> Iterator[None]:
    """Say in one way that a file did not fit on its disk.

    Args:
        target: the file, for the message.
        size: bytes that it will have, as far as that is known.
        kept: what a person does not lose, for the message.
        written: where it is written meanwhile, if that is not `target`. A library that does not
            say why it failed is believed to have met a full disk if this file cannot grow.

    Raises:
        DiskFullError: something inside failed because the disk, or the person's share of it, is
            full: which file, how much is missing, and what is kept.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if not (_says_full(error) or (written and _cannot_grow(written))):
            raise
        raise DiskFullError(_message(target, size, kept, written or target)) from error


def _says_full(error: BaseException | None) -> bool:
    """Whether an exception, or one behind it, names the reason.

    Libraries written in other languages give the operating system's number as text only.
    """
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        text = str(error)
        if any(f"os error {number}" in text or os.strerror(number) in text for number in _FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def _cannot_grow(written: Path) -> bool:
    """Whether there is no room for another block. PyTorch does not say why it could not write."""
    if not written.exists():
        return False
    try:
        with written.open("ab") as file:
            file.write(bytes(_BLOCK))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno in _FULL
    return False


def _message(target: Path, size: int | None, kept: str, written: Path) -> str:
    reached = written.stat().st_size if written.is_file() else 0
    free = 0
    with suppress(OSError):
        free = shutil.disk_usage(target.parent).free
    if size is None:
        # Of its size, only that is known which did not fit.
        missing = f"at least {_spoken(_BLOCK)} more are needed"
    else:
        missing = f"about {_spoken(max(size - reached - free, 1))} more are needed"
    return (
        f"the disk is full: {target} could not be written, {missing} ({_spoken(reached)} were "
        f"written). Free some space and run again; {kept} is kept."
    )


def _spoken(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"
