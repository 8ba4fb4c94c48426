"""Files of tensors: our own (safetensors with a JSON header) and foreign ones, read safely.

Our own say what they hold: a digest over names, types, shapes and values of the tensors, and one
over that and the header. Both are compared when the file is read.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from scan_core.errors import InputError
from scan_core.storage.atomic import atomic_path
from scan_core.storage.safe_pickle import load_plain_pickle

_HEADER, _TENSORS, _ALL = "scan", "tensors_sha256", "sha256"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write a safetensors file atomically.

    Args:
        path: the file.
        tensors: by name; they may lie on any device and share memory.
        header: anything that JSON can hold; `load_tensors` gives it back.

    Raises:
        DiskFullError: there is no space for it.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # safetensors refuses tensors that share memory, such as expanded or tied ones.
    seen: set[int] = set()
    for name, tensor in contiguous.items():
        if tensor.data_ptr() in seen:
            contiguous[name] = tensor.clone()
        seen.add(tensor.data_ptr())
    metadata = _metadata(json.dumps(header), _tensors_digest(contiguous))
    size = sum(tensor.nbytes for tensor in contiguous.values())
    with atomic_path(path, size, durable=True) as temporary:
        save_file(contiguous, temporary, metadata=metadata)
        _sort_header(temporary)


def load_tensors(
    path: Path, device: str | torch.device = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a safetensors file.

    Args:
        path: the file.
        device: where the tensors are put.

    Returns:
        the tensors by name, and the header (empty if the file has none of ours).

    Raises:
        InputError: the file is missing, damaged, or no safetensors file.
    """
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
        header = json.loads(metadata.get(_HEADER, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"checkpoint {path} cannot be read ({error}); it is truncated or no safetensors "
            "file. Make or copy it again."
        ) from None
    if metadata.keys() & {_HEADER, _TENSORS, _ALL} and (
        metadata != _metadata(metadata.get(_HEADER, ""), _tensors_digest(tensors))
    ):
        raise InputError(
            f"checkpoint {path} is damaged: its contents are not those that it was written with. "
            "Make or copy it again."
        )
    return {name: tensor.to(device) for name, tensor in tensors.items()}, header


def copy_with_header(source: Path, target: Path, header: Mapping[str, Any]) -> None:
    """Copy a file of `save_tensors`, its tensors byte for byte, with another header.

    Args:
        source: the file.
        target: the copy, written atomically.
        header: anything that JSON can hold.

    Raises:
        InputError: the source is damaged, or no file of `save_tensors`.
        DiskFullError: there is no space for the copy.
    """
    load_tensors(source)  # a damaged file is not passed on under a new digest
    with (
        source.open("rb") as file,
        atomic_path(target, source.stat().st_size, durable=True) as temporary,
    ):
        # Eight bytes of length, little-endian; a JSON object; the tensors, at offsets from its end.
        table = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        digest = table.get("__metadata__", {}).get(_TENSORS)
        if digest is None:
            raise InputError(f"checkpoint {source} is not one of this project")
        table["__metadata__"] = _metadata(json.dumps(header), digest)
        text = json.dumps(table, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with temporary.open("wb") as copy:
            copy.write(len(text).to_bytes(8, "little") + text)
            shutil.copyfileobj(file, copy, 2**24)


def _sort_header(path: Path) -> None:
    """Put the entries of a file's header in order: the library's order differs from run to run."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        table = json.loads(file.read(length))
        # The tensors keep their order, which is that of their offsets.
        table = {"__metadata__": dict(sorted(table.pop("__metadata__").items())), **table}
        text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, "the same entries take no more room"
        file.seek(8)
        file.write(text.ljust(length))


def _metadata(header: str, tensors: str) -> dict[str, str]:
    """What stands in the file beside the tensors, with a digest of all of it."""
    digest = hashlib.sha256(f"{tensors}\n{header}".encode()).hexdigest()
    return {_HEADER: header, _TENSORS: tensors, _ALL: digest}


def _tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}\n{tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_foreign(path: Path) -> dict[str, Tensor]:
    """Read the state dict of a checkpoint made elsewhere, without running any of its code.

    `.safetensors`, PyTorch's own format (only tensors and plain containers are accepted), and
    pickled dicts of NumPy arrays, as detectron2's model zoo has them. A state dict inside a
    larger checkpoint (`model`, `state_dict`, `model_state`) is found, and `module.`, which
    distributed training puts before every name, is taken off.

    Args:
        path: the file.

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
        found = load_plain_pickle(path)
    else:
        found = _load_torch(path)
    for key in ("model", "state_dict", "model_state", "model_state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise InputError(f"checkpoint {path} holds no state dict but a {type(found).__name__}")
    tensors = {
        str(name).removeprefix("module."): torch.as_tensor(value)
        for name, value in found.items()
        if hasattr(value, "shape")
    }
    if not tensors:
        raise InputError(f"checkpoint {path} holds no tensors; it has {', '.join(map(str, found))}")
    return tensors


def _load_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=None)
    except Exception as error:  # torch raises whatever its parts raise
        reason = _reason(str(error)) or type(error).__name__
        raise InputError(
            f"checkpoint {path} cannot be read safely: {reason}. It is truncated, no PyTorch "
            "checkpoint, or holds objects besides tensors, which could run code and are refused."
        ) from None


def _reason(text: str) -> str:
    """What PyTorch objects to, without its colours and its advice to read the file unsafely."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    if named := re.search(r"GLOBAL ([\w.]+)", plain):
        return f"it asks for {named[1]}"
    if "weights_only" in plain:
        return "its pickle holds an instruction that is not allowed"
    return plain.strip().partition("\n")[0]
