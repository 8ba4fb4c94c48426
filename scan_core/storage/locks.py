"""One maker of a file at a time, over all machines that share the file system.

A workflow that died leaves jobs running; started again carelessly it makes the same files a
second time, at the same time. Whoever makes a file therefore holds a lock beside it.
"""

import errno
import fcntl
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scan_core.errors import InputError

PATIENCE = 120.0
_POLL = 0.5
# What a file system says that knows no locks, such as Lustre mounted without `flock`.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def exclusive(target: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Be the only one who makes `target`, while the context lasts.

    The lock is the operating system's and ends with its process, however that ends. On a file
    system without locks it is a file that counts as long as its process, or its job of SLURM,
    lives.

    Args:
        target: what is made: a file or a folder.
        patience: seconds to wait for another one, who may be about to end.

    Raises:
        InputError: somebody else is making it; the message says who.
    """
    path = target.with_name(f".{target.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    while (descriptor := _acquired(path)) is None:
        if time.monotonic() > deadline:
            raise InputError(
                f"{target} is being made by {_spoken(_record(path))}. Wait for it, or end it; for "
                "a workflow that died, `python -m workflow_scripts.resume` does so. If nothing "
                f"of the kind runs, delete {path}."
            )
        time.sleep(_POLL)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def is_first_process() -> bool:
    """Whether this is the first, or the only, process of its command.

    srun, torchrun and Fabric start several of the same command line, and number them.
    """
    return all(os.environ.get(name, "0") == "0" for name in ("SLURM_PROCID", "RANK", "LOCAL_RANK"))


def _acquired(path: Path) -> int | None:
    """The descriptor of the lock file, once it is ours; None: somebody else's."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in _NO_LOCKS:
            return _acquired_without_locks(path)
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return None
        raise
    # Its last holder may have removed it between our opening and our locking.
    if not path.exists() or path.stat().st_ino != os.fstat(descriptor).st_ino:
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, _our_record())
    return descriptor


def _acquired_without_locks(path: Path) -> int | None:
    """The same, where the file's being there has to do: a dead maker's file is moved away."""
    holder = _record(path)
    if holder and not _lives(holder):
        moved = path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}")
        with suppress(FileNotFoundError):
            path.rename(moved)
            moved.unlink()
    elif not holder:
        path.unlink(missing_ok=True)  # the empty one that the attempt to lock has made
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return None
    os.write(descriptor, _our_record())
    return descriptor


def _our_record() -> bytes:
    return json.dumps(
        {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "job": os.environ.get("SLURM_JOB_ID"),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
    ).encode()


def _record(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _spoken(record: dict[str, str]) -> str:
    if not record:
        return "another process"
    job = f"job {record['job']}, " if record.get("job") else ""
    return f"{job}process {record['process']} on {record['host']}, since {record['since']}"


def _lives(record: dict[str, str]) -> bool:
    """Whether a maker still runs; one of whom nothing can be learnt counts as alive."""
    if record.get("host") == socket.gethostname():
        return Path(f"/proc/{record['process']}").exists()
    if not record.get("job") or shutil.which("squeue") is None:
        return True
    asked = subprocess.run(
        ["squeue", "--noheader", "--jobs", record["job"], "--format=%T"],
        capture_output=True,
        text=True,
    )
    # A job that SLURM has forgotten is an error of its own.
    return bool(asked.stdout.strip()) or (
        asked.returncode != 0 and "Invalid job id" not in asked.stderr
    )
