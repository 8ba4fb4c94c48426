"""Checkpoints of a training: written while it goes on, and checked before they are continued."""

import json
import logging
import random
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from scan_core.errors import InputError
from scan_core.storage.states import load_state, save_state

FILE_NAME = "checkpoint.pt"

_log = logging.getLogger(__name__)
_KEYS = ("step", "identity", "random", "module", "optimizer")


class CheckpointWriter:
    """Writes one checkpoint after the other, in a thread of its own.

    The training stands still only while the state is copied to the CPU's memory.

    Args:
        path: of the checkpoint; the next one takes its place whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown()

    def write(self, state: Mapping[str, Any]) -> None:
        """Copy a state, and begin to write it once the one before is written.

        Args:
            state: of numbers, texts and tensors, nested; it may change as soon as this returns.
        """
        self.wait()
        self._writing = self._thread.submit(self._write, _copied(state))

    def wait(self) -> None:
        """Return when everything is on disk.

        Raises:
            DiskFullError: there is no space for it.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def failed(self) -> bool:
        """Whether `wait` would raise, as far as is known by now."""
        done = self._writing is not None and self._writing.done()
        return done and self._writing.exception() is not None  # type: ignore[union-attr]

    def _write(self, state: Mapping[str, Any]) -> None:
        save_state(self.path, state)


def training_state(module: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Whatever a training changes in a network and its optimiser."""
    return {"module": _learned(module), "optimizer": optimizer.state_dict()}


def restore_training_state(
    state: Mapping[str, Any], module: nn.Module, optimizer: Optimizer, path: Path
) -> None:
    """Put a state from `training_state` back, once all of it is known to fit.

    Raises:
        InputError: it is of another network, or another optimiser.
    """
    where = f"checkpoint {path} does not fit this training"
    remedy = "delete it to train from the start"
    own = _learned(module)
    kept: Mapping[str, Tensor] = state["module"]
    for name in sorted(own.keys() ^ kept.keys()):
        raise InputError(f"{where}: only one of the two has the weights '{name}'; {remedy}")
    for name, tensor in own.items():
        if tensor.shape != kept[name].shape:
            raise InputError(
                f"{where}: '{name}' is {_spoken(kept[name])}, expected {_spoken(tensor)}; {remedy}"
            )
    groups = optimizer.param_groups
    sizes = [len(group["params"]) for group in groups]
    if sizes != [len(group["params"]) for group in state["optimizer"]["param_groups"]]:
        raise InputError(f"{where}: its optimiser has other groups of weights; {remedy}")
    parameters = [parameter for group in groups for parameter in group["params"]]
    moments: Mapping[int, Mapping[str, Any]] = state["optimizer"]["state"]
    for number, parameter in enumerate(parameters):
        for name, moment in moments.get(number, {}).items():
            if isinstance(moment, Tensor) and moment.ndim and moment.shape != parameter.shape:
                raise InputError(
                    f"{where}: the optimiser's {name} is {_spoken(moment)} for weights of "
                    f"{_spoken(parameter)}; {remedy}"
                )
    module.load_state_dict(kept, strict=False)  # what is frozen is not in it
    optimizer.load_state_dict(state["optimizer"])


def random_state(device: torch.device) -> dict[str, Any]:
    """Python's and PyTorch's random states, of this process and of its device."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": list(random.getstate()[1]),
    }


def restore_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Put a state from `random_state` back; that of another kind of device is left out."""
    torch.set_rng_state(state["torch"])
    random.setstate((3, tuple(state["python"]), None))
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def load_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read a checkpoint; None: there is none, or it is of something else.

    Raises:
        InputError: it is damaged.
    """
    if not path.is_file():
        return None
    state = load_state(path, "delete it to train from the start")
    if lacking := [key for key in _KEYS if key not in state]:
        raise InputError(
            f"{path} is no checkpoint of this version (the key '{lacking[0]}' is missing); delete "
            "it to train anew"
        )
    before: Mapping[str, Any] = json.loads(state["identity"])
    now = json.loads(json.dumps(identity))
    if other := [name for name in now.keys() | before.keys() if now.get(name) != before.get(name)]:
        _log.info("%s is of another %s: starting anew", path, ", ".join(sorted(other)))
        return None
    return state


def _learned(module: nn.Module) -> dict[str, Tensor]:
    """Trainable parameters and buffers: what training can have changed."""
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    return {name: t for name, t in module.state_dict().items() if name not in frozen}


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_copied(one) for one in value]
    return value


def _spoken(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "a number"
