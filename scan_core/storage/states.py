"""States of a process, in PyTorch's format: written whole, and checked before they are used."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scan_core.errors import InputError
from scan_core.storage.atomic import atomic_path


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state atomically; it outlives a power cut.

    Args:
        path: the file.
        state: numbers, texts and tensors, nested in dictionaries and lists.

    Raises:
        DiskFullError: there is no space for it.
    """
    # Into a file of Python's, whose errors say what happened.
    with (
        atomic_path(path, _bytes(state), durable=True) as temporary,
        temporary.open("wb") as file,
    ):
        torch.save(dict(state), file)


def load_state(path: Path, remedy: str) -> dict[str, Any]:
    """Read a state onto the CPU, without running any code of the file's.

    Args:
        path: the file.
        remedy: what to do about a damaged one, for the message.

    Raises:
        InputError: it is missing, damaged down to a single bit, or of another format.
    """
    try:
        # Its parts have checksums, which PyTorch writes and does not compare.
        with zipfile.ZipFile(path) as parts:
            if part := parts.testzip():
                raise zipfile.BadZipFile(f"the checksum of {part} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}")
    except Exception as error:  # zipfile and torch raise whatever their parts raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path} is damaged ({reason}); {remedy}") from None
    return state


def _bytes(value: Any) -> int:
    """Size of the tensors in a state, nearly all of its file."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else 0
