"""One maker of a file at a time, over all machines that share the file system.

A workflow that died leaves jobs running; started again carelessly it makes the same files a
second time, at the same time. Two projects may share their data. Whoever makes a file therefore
holds a lock beside it.
"""

import errno
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, LeaseCompromise, SoftFileLease, Timeout

from scan_core.errors import InputError

PATIENCE = 120.0
# On a file system without locks a maker gives a sign of life three times in this time, and
# counts as dead after it, by the clock of the one who waits. Less than the patience.
LEASE = 60.0
_POLL = 0.5
# What a file system says that knows no locks, such as Lustre mounted without `flock`.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

_log = logging.getLogger(__name__)


@contextmanager
def exclusive(target: Path, patience: float = PATIENCE, lease: float = LEASE) -> Iterator[None]:
    """Be the only one who makes `target`, while the context lasts.

    The lock is the operating system's and ends with its process, however that ends. On a file
    system without locks it is a file that its holder renews, and that counts for as long as it
    does: a holder that has died, wherever and in whatever job, is replaced after `lease` seconds.

    Args:
        target: what is made: a file or a folder.
        patience: seconds to wait for another one, who may be about to end.
        lease: seconds; the same for everybody.

    Raises:
        InputError: somebody else is making it; the message says who.
    """
    path = target.with_name(f".{target.name}.lock")
    maker = target.with_name(f".{target.name}.maker")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _acquired(path, patience, lease, target, maker)
    try:
        with suppress(OSError):  # a full disk is told of by what is made
            maker.write_text(_our_record(), encoding="utf-8")
        yield
    finally:
        # In this order: whoever comes next finds nothing of ours. A lock that is removed while
        # it is held is taken by nobody: the library looks whether its file is still there.
        maker.unlink(missing_ok=True)
        if not isinstance(lock, SoftFileLease):
            path.unlink(missing_ok=True)
        lock.release()


def remove_dead_locks(folder: Path, below: bool = True) -> int:
    """Remove the locks of killed makers, whose files nobody may make again; their number.

    Args:
        folder: where to look; it may be missing.
        below: also in the folders below it.
    """
    removed = 0
    for pattern in (".*.lock", ".*.lease"):
        for path in list(folder.rglob(pattern) if below else folder.glob(pattern)):
            # Whoever can take a lock knows that its holder is dead, and leaves nothing behind.
            with (
                suppress(InputError, OSError),
                exclusive(path.with_name(path.stem[1:]), patience=0),
            ):
                removed += 1
    return removed


def is_first_process() -> bool:
    """Whether this is the first, or the only, process of its command.

    srun, torchrun and Fabric start several of the same command line, and number them.
    """
    return all(os.environ.get(name, "0") == "0" for name in ("SLURM_PROCID", "RANK", "LOCAL_RANK"))


def _acquired(path: Path, patience: float, lease: float, target: Path, maker: Path) -> BaseFileLock:
    try:
        try:
            lock: BaseFileLock = FileLock(path, fallback_to_soft=False)
            lock.acquire(timeout=patience, poll_interval=_POLL)
        except OSError as error:
            if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
                raise
            path.unlink(missing_ok=True)  # what the attempt to lock has made
            lock = SoftFileLease(
                path.with_suffix(".lease"), lease_duration=lease, on_compromise=_warn
            )
            lock.acquire(timeout=patience, poll_interval=min(_POLL, lease / 10))
    except Timeout as timeout:
        raise InputError(
            f"{target} is being made by {_holder(maker)}. Wait for it, or end it; for a workflow "
            "that died, `python -m workflow_scripts.resume` does so. If nothing of the kind "
            f"runs, delete {timeout.lock_file}."
        ) from None
    return lock


def _warn(compromise: LeaseCompromise) -> None:
    _log.warning("another process may have taken the lock of this one: %s", compromise)


def _our_record() -> str:
    return json.dumps(
        {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "job": os.environ.get("SLURM_JOB_ID"),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
    )


def _holder(maker: Path) -> str:
    """The maker, in words."""
    try:
        record = json.loads(maker.read_text(encoding="utf-8"))
        job = f"job {record['job']}, " if record["job"] else ""
        return f"{job}process {record['process']} on {record['host']}, since {record['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
