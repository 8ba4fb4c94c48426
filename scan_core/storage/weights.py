"""Weights (safetensors with a JSON header), checkpoints of trainings, and foreign checkpoints."""

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from scan_core.errors import InputError
from scan_core.storage.files import HEADER, atomic_path, plain_name, read_header, readable

# What a pickle of containers and NumPy arrays asks for, by old and new names of NumPy's modules.
_ALLOWED = {
    ("collections", "OrderedDict"), ("_codecs", "encode"), ("__builtin__", "bytes"),
    ("numpy", "dtype"), ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer"),
}  # fmt: skip


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write a safetensors file atomically and durably.

    Args:
        tensors: by name; they may lie on any device and share memory.
        header: JSON; `load_tensors` returns it.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    seen: set[int] = set()
    for name, tensor in contiguous.items():
        if tensor.data_ptr() in seen:  # safetensors refuses tensors that share memory
            contiguous[name] = tensor.clone()
        seen.add(tensor.data_ptr())
    with atomic_path(path, durable=True) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(contiguous, temporary, metadata={HEADER: json.dumps(header)})
        temporary.chmod(mode)  # safetensors creates files with mode 0600, whatever the umask


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a safetensors file onto the CPU.

    Returns:
        the tensors by name, and the header (empty if the file has none of ours).

    Raises:
        InputError: the file is missing, damaged, or no safetensors file.
    """
    hint = "make or copy it again, as a whole safetensors file"
    _, header = read_header(path, hint)
    with readable(path, hint):
        return load_file(path), header


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a training's state (numbers, texts, tensors, nested) atomically and durably."""
    # A file of Python's reports a full disk as such; PyTorch's own writer does not.
    with atomic_path(path, durable=True) as temporary, temporary.open("wb") as file:
        torch.save(dict(state), file)


def load_state(path: Path, hint: str) -> dict[str, Any]:
    """Read a state onto the CPU.

    Args:
        hint: what to do if it cannot be read, for the message.

    Raises:
        InputError: missing, damaged or of another format.
    """
    state = _load_torch(path, hint)
    if not isinstance(state, dict):
        raise InputError(f"{path} holds a {type(state).__name__}, not a state; {hint}")
    return state


def load_foreign(path: Path) -> dict[str, Tensor]:
    """Read the state dict of a checkpoint made elsewhere, without running any of its code.

    Formats: `.safetensors`, PyTorch's (tensors and plain containers), and pickled dictionaries of
    NumPy arrays (`.pkl`, as in detectron2's model zoo). A state dict inside a larger checkpoint
    (`model`, `state_dict`, …) is found, and prefixes of wrappers (`module.`, `_orig_mod.`, …) are
    removed.

    Returns:
        tensors by name, on the CPU.

    Raises:
        InputError: unreadable, truncated, unsafe, or without a state dict.
    """
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist")
    if path.suffix == ".safetensors":
        found: Any = load_tensors(path)[0]
    elif path.suffix == ".pkl":
        found = _load_pickle(path)
    else:
        found = _load_torch(path, "get it again")
    for key in ("model", "state_dict", "model_state", "model_state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise InputError(f"checkpoint {path} holds no state dict but a {type(found).__name__}")
    tensors = {
        plain_name(str(name)): torch.as_tensor(value)
        for name, value in found.items()
        if hasattr(value, "shape")
    }
    if not tensors:
        raise InputError(f"checkpoint {path} holds no tensors; it has {', '.join(map(str, found))}")
    return tensors


def _load_torch(path: Path, hint: str) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its parts raise
        text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)) or type(error).__name__
        if "TorchScript" in text:
            raise InputError(
                f"checkpoint {path} is a TorchScript archive, which contains code. If you trust "
                "its source, save its weights alone: "
                f"torch.save(torch.jit.load({str(path)!r}).state_dict(), 'weights.pt')"
            ) from None
        if named := re.search(r"GLOBAL ([\w.]+)", text):
            text = f"it asks for {named[1]}"
        elif "weights_only" in text:  # without PyTorch's advice to load the file unsafely
            text = "its pickle holds an instruction that is not allowed"
        raise InputError(
            f"checkpoint {path} cannot be read safely: {text.strip().splitlines()[0]}. It is "
            "truncated, no PyTorch checkpoint, or holds objects besides tensors, which could run "
            f"code and are refused; {hint}"
        ) from None


class _RestrictedUnpickler(pickle.Unpickler):
    """Unpickler that finds NumPy's arrays only (see "Restricting Globals" in Python's manual)."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        return super().find_class(module_name, global_name)


def _load_pickle(path: Path) -> Any:
    hint = "only plain containers, numbers and NumPy arrays are read; get it from its publisher"
    with readable(path, hint), path.open("rb") as file:
        return _RestrictedUnpickler(file).load()
