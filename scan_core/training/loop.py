"""The training loop, for every network of the project: one page, on Lightning Fabric.

It continues where it was stopped, at any moment and by any means, and ends with the same
weights: batches and augmentations follow from the step's number alone, and a checkpoint holds
everything else (weights, optimiser, random states).
"""

import json
import logging
import math
import random
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from scan_core.errors import InputError
from scan_core.models.cpu_linear import ConvolutionalLinear
from scan_core.storage.atomic import atomic_path, write_text
from scan_core.training.processes import everybodys, largest

_log = logging.getLogger(__name__)
_LOG_SECONDS = 10.0


@dataclass(frozen=True)
class LoopSettings:
    """What the loop needs to know.

    Attributes:
        steps: optimiser steps.
        gradient_clip: largest norm of the whole gradient; None: not clipped.
        checkpoint_every: steps between checkpoints.
        validate_every: steps between validations; None: never.
        log_every: steps between lines of `metrics.jsonl`.
    """

    steps: int
    gradient_clip: float | None
    checkpoint_every: int
    validate_every: int | None
    log_every: int = 10


class Task(ABC):
    """What is trained, and on what.

    Attributes:
        module: everything that learns, and whatever it needs to run.
        optimizer: over its trainable parameters.
    """

    module: nn.Module
    optimizer: Optimizer

    @abstractmethod
    def learning_rate(self, step: int) -> float:
        """Of a step, counted from 0."""

    @abstractmethod
    def batches(self, first_step: int) -> Iterator[Sequence[Any]]:
        """The micro-batches of this process for each step, from `first_step` on."""

    @abstractmethod
    def losses(
        self, module: nn.Module, batch: Any, step: int, batches: Sequence[Any]
    ) -> dict[str, Tensor]:
        """Losses of one micro-batch: `loss`, which is minimised, and others to be recorded.

        Args:
            module: `self.module`, as Fabric wraps it.
            batch: one of `batches`.
            step: from 0.
            batches: all micro-batches of this process in this step.
        """

    def validate(self) -> dict[str, float]:
        """Numbers of a validation, such as `validation_miou`."""
        return {}

    def names(self, batch: Any) -> list[str]:
        """What is in a micro-batch, to be told when its loss explodes."""
        return []


class Interrupted(SystemExit):
    """The process was asked to stop; its checkpoint is written."""


def train(
    fabric: Fabric, task: Task, settings: LoopSettings, folder: Path, identity: Mapping[str, Any]
) -> Path:
    """Train, from the last checkpoint in `folder` if there is one.

    Args:
        fabric: launched.
        task: what to train.
        settings: how long, how often.
        folder: for checkpoint and metrics while training; call `finish` once the result is kept.
        identity: what the result depends on. A checkpoint of another identity is not continued.

    Returns:
        `metrics.jsonl`, the record of the training.

    Raises:
        InputError: the loss is not a number; the batch's names are beside the checkpoint.
        Interrupted: SIGTERM or SIGUSR1 came; the same call continues.
    """
    module, optimizer = fabric.setup(task.module, task.optimizer)
    trainable = [p for p in task.module.parameters() if p.requires_grad]
    metrics = folder / "metrics.jsonl"
    first = _restore(fabric, folder, task, identity)
    if fabric.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        _cut(metrics, first)
    started = last_line = time.monotonic()
    module.train()
    with _stop_signals() as stop, ConvolutionalLinear(task.module):
        for step, batches in zip(range(first, settings.steps), task.batches(first)):  # noqa: B905
            rate = task.learning_rate(step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            sums: dict[str, Tensor] = {}
            for number, batch in enumerate(batches, start=1):
                with fabric.no_backward_sync(module, enabled=number < len(batches)):
                    losses = task.losses(module, batch, step, batches)
                    fabric.backward(losses["loss"] / len(batches))
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0) + value.detach() / len(batches)
            # All processes give up, or stop, after the same step.
            infinite = not math.isfinite(float(sums["loss"]))
            exploded, stopped_by = largest(fabric, [infinite, stop[0] if stop else 0])
            if exploded:
                _give_up(fabric, folder, step, [n for batch in batches for n in task.names(batch)])
            if settings.gradient_clip is not None:
                nn.utils.clip_grad_norm_(trainable, settings.gradient_clip)
            optimizer.step()
            optimizer.zero_grad()

            done = step + 1
            if done % settings.log_every == 0 or done == settings.steps:
                row = {name: _mean(fabric, value) for name, value in sums.items()}
                speed = (done - first) / (time.monotonic() - started)
                _append(fabric, metrics, {"step": done, **row, "learning_rate": rate})
                if time.monotonic() - last_line > _LOG_SECONDS or done == settings.steps:
                    last_line = time.monotonic()
                    left = (settings.steps - done) / speed
                    _log.info(
                        "step %d of %d, loss %.4f, %.2f steps/s, %s left",
                        *(done, settings.steps, row["loss"], speed, _spoken(left)),
                    )
            if settings.validate_every and done % settings.validate_every == 0:
                module.eval()
                numbers = task.validate()
                module.train()
                _append(fabric, metrics, {"step": done, **numbers})
                _log.info("step %d: %s", done, _listed(numbers))
            if stopped_by or done % settings.checkpoint_every == 0:
                _save(fabric, folder, done, task, identity)
            if stopped_by:
                _log.info(
                    "signal %d: stopped after step %d; run again to continue", stopped_by, done
                )
                raise Interrupted(128 + stopped_by)
    module.eval()
    return metrics


def finish(folder: Path) -> None:
    """Remove checkpoint and metrics of a training whose result is kept elsewhere."""
    shutil.rmtree(folder, ignore_errors=True)


def _save(fabric: Fabric, folder: Path, step: int, task: Task, identity: Mapping[str, Any]) -> None:
    """Write the checkpoint; every process writes its own random states."""
    random_states = {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": list(random.getstate()[1]),
    }
    with atomic_path(folder / f"random.{fabric.global_rank}.pt") as temporary:
        torch.save({"step": step, **random_states}, temporary)
    if fabric.is_global_zero:
        state = {
            "step": step,
            "identity": json.dumps(identity, sort_keys=True),
            "module": _learned(task.module),
            "optimizer": task.optimizer.state_dict(),
        }
        with atomic_path(folder / "checkpoint.pt") as temporary:
            torch.save(state, temporary)
    fabric.barrier()


def _restore(fabric: Fabric, folder: Path, task: Task, identity: Mapping[str, Any]) -> int:
    """Load the checkpoint in every process; the number of steps done.

    It may come from another number of processes: nothing in it depends on that.
    """
    steps = _load(folder, task, identity, fabric.global_rank)
    furthest, least = largest(fabric, [steps, -steps])
    if furthest != -least:
        raise InputError(
            f"the processes of this training see different checkpoints in {folder} (steps "
            f"{-least} and {furthest}): its file system is not the same on all nodes, or late. "
            "Run again; if that does not help, put the results on a file system that is."
        )
    return steps


def _load(folder: Path, task: Task, identity: Mapping[str, Any], rank: int) -> int:
    path = folder / "checkpoint.pt"
    if not path.is_file():
        return 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its parts raise
        raise InputError(
            f"{path} is damaged ({error}); delete it to train from the start"
        ) from None
    if state["identity"] != json.dumps(identity, sort_keys=True):
        _log.info("%s is of other settings or data: starting anew", path)
        return 0
    task.module.load_state_dict(state["module"], strict=False)
    task.optimizer.load_state_dict(state["optimizer"])
    _restore_random(folder / f"random.{rank}.pt", state["step"])
    _log.info("continuing after step %d", state["step"])
    return int(state["step"])


def _restore_random(path: Path, step: int) -> None:
    if not path.is_file():
        return
    states = torch.load(path, map_location="cpu", weights_only=True)
    if states["step"] != step:
        return
    torch.set_rng_state(states["torch"])
    random.setstate((3, tuple(states["python"]), None))
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])


def _learned(module: nn.Module) -> dict[str, Tensor]:
    """Trainable parameters and buffers: what training can have changed."""
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    return {name: t for name, t in module.state_dict().items() if name not in frozen}


def _give_up(fabric: Fabric, folder: Path, step: int, names: list[str]) -> None:
    path = folder / "exploded.json"
    images = everybodys(fabric, names)
    if fabric.is_global_zero:
        write_text(path, json.dumps({"step": step, "images": images}, indent=1) + "\n")
    raise InputError(
        f"the loss of step {step} is not a number. The images of its batch are listed in {path}; "
        "lower the learning rate or the gradient clip, or look at these images."
    )


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that gets the number of SIGTERM or SIGUSR1 when one arrives."""
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    for number in before:
        signal.signal(number, remember)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _append(fabric: Fabric, path: Path, row: Mapping[str, float]) -> None:
    if fabric.is_global_zero:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _cut(path: Path, steps: int) -> None:
    """Drop what a stopped run recorded beyond its last checkpoint."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break  # cut off in the middle of a line
        if row["step"] <= steps:
            kept.append(line + "\n")
    write_text(path, "".join(kept))


def _mean(fabric: Fabric, value: Tensor) -> float:
    """A scalar, averaged over all processes."""
    reduced = fabric.all_reduce(value, reduce_op="mean")
    assert isinstance(reduced, Tensor)
    return float(reduced)


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _listed(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in numbers.items())
