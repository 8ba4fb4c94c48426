"""Files appear complete or not at all; text and JSON are read with one kind of error; digests."""

import hashlib
import itertools
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from scan_core.errors import InputError

# What torch.compile, FSDP, activation checkpointing and (Distributed)DataParallel add to names.
_WRAPPERS = re.compile(
    r"^(?:module\.|_orig_mod\.)+"
    r"|\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
HEADER = "scan"  # key of our JSON header in the metadata of a safetensors file
_count = itertools.count()
_TEMPORARY = re.compile(r"\.(?P<host>.+)-(?P<process>\d+)-\d+\.tmp.*")
# The temporary file of a process on another machine counts as a leftover after so many seconds.
_ABANDONED = 24 * 3600.0


@contextmanager
def atomic_path(target: Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `target`, and rename it to `target` on success.

    Missing parent folders are made. On an exception the temporary file is removed, and what stood
    at `target` stays. The temporary name has the target's suffix, by which libraries choose a
    format, and is unique to the process and the call. Before a process first writes into a folder,
    it removes the temporary files and folders there whose processes have been killed.

    Args:
        durable: flush the file to the disk before the rename, so that it survives a power cut.
    """
    temporary = _temporary(target)
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        _remove(temporary)
        raise


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `target`, and rename it to `target` on success.

    `target` must not exist, or be an empty folder.
    """
    with atomic_path(target) as temporary:
        temporary.mkdir()
        yield temporary


def _temporary(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target.parent.absolute())
    writer = f"{socket.gethostname()}-{os.getpid()}-{next(_count)}"
    suffix = target.suffix if len(target.suffix) < 20 else ""  # a name may have 255 bytes
    return target.with_name(f".{writer}.tmp{suffix}")


@cache
def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(".*.tmp*"):
        match = _TEMPORARY.fullmatch(path.name)
        with suppress(OSError):
            if match and not _is_written(path, match["host"], int(match["process"])):
                _remove(path)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _is_written(path: Path, host: str, process: int) -> bool:
    if host != socket.gethostname():
        return time.time() - path.stat().st_mtime < _ABANDONED
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives, and belongs to somebody else
        pass
    return True


def write_text(target: Path, text: str) -> None:
    """Write `text` (UTF-8) to `target` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write a value as indented JSON to `target` atomically."""
    write_text(target, json.dumps(value, indent=1) + "\n")


def read_text(path: Path, hint: str = "") -> str:
    """The text of a UTF-8 file, without the byte order mark that some editors write.

    Args:
        hint: what to do if the file cannot be read, for the message.

    Raises:
        InputError: missing, unreadable or in another encoding.
    """
    with readable(path, hint or "give the name of a file of UTF-8 text"):
        return path.read_text(encoding="utf-8-sig")


def read_json(path: Path, hint: str = "delete it, and it is made again") -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        hint: what to do if the file cannot be read, for the message.

    Raises:
        InputError: missing, unreadable, invalid JSON, nested too deep or not an object.
    """
    with readable(path, hint):
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(found, dict):
            raise ValueError(f"expected a JSON object, got {type(found).__name__}")
        return found


def read_arrays(path: Path, hint: str) -> dict[str, Any]:
    """The NumPy arrays of a `.npz` file by name.

    Args:
        hint: what to do if the file cannot be read, for the message.

    Raises:
        InputError: missing or damaged.
    """
    import numpy as np  # the Snakefile reads this module, and needs no NumPy

    with readable(path, hint), np.load(path) as file:
        return {name: file[name] for name in file.files}


def read_header(path: Path, hint: str) -> tuple[dict[str, list[int]], dict[str, Any]]:
    """What a safetensors file says before its tensors.

    Args:
        hint: what to do if the file cannot be read, for the message.

    Returns:
        shapes by `plain_name`, and the header that `weights.save_tensors` has written; empty: none.

    Raises:
        InputError: missing, truncated, or no safetensors file.
    """
    from safetensors import safe_open

    with readable(path, hint), safe_open(path, "numpy") as file:
        names = file.keys()
        shapes = {plain_name(name): file.get_slice(name).get_shape() for name in names}
        header: dict[str, Any] = json.loads((file.metadata() or {}).get(HEADER, "{}"))
        if not isinstance(header, dict):
            raise ValueError(f"its header is a JSON {type(header).__name__}, not an object")
    return shapes, header


def plain_name(name: str) -> str:
    """A tensor's name without what wrappers of training frameworks add to it."""
    return _WRAPPERS.sub("", name)


@contextmanager
def readable(path: Path, hint: str) -> Iterator[None]:
    """Turn whatever a reader raises inside this block into an `InputError` with path and hint."""
    try:
        yield
    except InputError:
        raise
    except RecursionError:
        raise InputError(f"{path} cannot be read (it is nested too deeply); {hint}") from None
    except Exception as error:  # damaged files raise anything
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"{path} cannot be read ({reason}); {hint}") from None


def files_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Every file in a folder and in the folders below it, also in those that are links.

    Hidden files, such as those that macOS puts beside others, are left out, and so is a link to
    a folder that it lies in.
    """
    real = folder.resolve()
    if real in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            # A `DirEntry` raises of a link to itself what a `Path` takes for no folder.
            if path.is_dir() if entry.is_symlink() else entry.is_dir():
                yield from files_below(path, (*above, real))
            else:
                yield path


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def json_digest(value: Any) -> str:
    """SHA-256 of a value as JSON with sorted keys, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
