"""The training loop, for every network of the project: one page, on Lightning Fabric.

It continues where it was stopped, at any moment and by any means, and ends with the same
weights: batches and augmentations follow from the step's number alone, and a checkpoint holds
everything else (weights, optimiser, random states).

Within a step no process waits for another one or for its GPU, unless the task does. Every few
seconds all of them agree on how it goes: whether a loss was no number, a signal came, a checkpoint
is due, and after which step they look again.
"""

import json
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from scan_core.command.stopping import Interrupted, stop_signals
from scan_core.errors import InputError
from scan_core.models.cpu_linear import ConvolutionalLinear
from scan_core.storage.atomic import remove_leftovers, write_text
from scan_core.training import checkpoint
from scan_core.training.batches import explained_reading
from scan_core.training.checkpoint import CheckpointWriter
from scan_core.training.optimizer import take_step
from scan_core.training.processes import everybodys, largest, means

_log = logging.getLogger(__name__)
_LOG_SECONDS = 10.0
# About how often the processes agree, and after how many steps at the latest.
_LOOK_SECONDS, _MOST_STEPS = 5.0, 50
_EXPLODED = "exploded.json"


@dataclass(frozen=True)
class LoopSettings:
    """What the loop needs to know.

    Attributes:
        steps: optimiser steps.
        gradient_clip: largest norm of the whole gradient; None: not clipped.
        checkpoint_every: steps between checkpoints; None: by time alone.
        validate_every: steps between validations; None: never.
        log_every: steps between lines of `metrics.jsonl`.
        checkpoint_seconds: a checkpoint is written at the latest after so long.
    """

    steps: int
    gradient_clip: float | None
    checkpoint_every: int | None
    validate_every: int | None
    log_every: int = 10
    checkpoint_seconds: float = 300.0


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
        """The micro-batches of this process for each step, from `first_step` on.

        Each has a method `to(device)`. The iterator is closed at the end.
        """

    @abstractmethod
    def losses(
        self, module: nn.Module, batch: Any, step: int, batches: Sequence[Any]
    ) -> dict[str, Tensor]:
        """Losses of one micro-batch: `loss`, which is minimised, and others to be recorded.

        Args:
            module: `self.module`, as Fabric wraps it.
            batch: one of `batches`, on the device.
            step: from 0.
            batches: all micro-batches of this process in this step, as they were read.
        """

    def validate(self) -> dict[str, float]:
        """Numbers of a validation, such as `validation_miou`."""
        return {}

    def names(self, batch: Any) -> list[str]:
        """What is in a micro-batch, to be told when its loss explodes."""
        return []


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
        Interrupted: a signal to stop came; the same call continues.
    """
    module, optimizer = fabric.setup(task.module, task.optimizer)
    trainable = [p for p in task.module.parameters() if p.requires_grad]
    metrics = folder / "metrics.jsonl"
    first = _restore(fabric, folder, task, identity)
    if fabric.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        _cut(metrics, first)
    started = last_line = time.monotonic()
    module.train()
    with (
        stop_signals() as signals,
        ConvolutionalLinear(task.module),
        CheckpointWriter(folder / checkpoint.FILE_NAME) as writer,
        explained_reading(),
        closing(task.batches(first)) as steps,  # type: ignore[type-var]
    ):
        watch = _Watch(fabric, settings, folder, signals, writer, first)
        for step in range(first, settings.steps):
            batches = next(steps)
            rate = task.learning_rate(step)
            sums: dict[str, Tensor] = {}
            for number, batch in enumerate(batches, start=1):
                with fabric.no_backward_sync(module, enabled=number < len(batches)):
                    losses = task.losses(module, batch.to(fabric.device), step, batches)
                    fabric.backward(losses["loss"] / len(batches))
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0) + value.detach() / len(batches)
            take_step(optimizer, trainable, rate, settings.gradient_clip)

            done = step + 1
            watch.note(step, sums["loss"], [n for batch in batches for n in task.names(batch)])
            stopped_by, is_due = watch.look(done) if watch.wants(done) else (0, False)
            if done % settings.log_every == 0 or done == settings.steps:
                row = dict(zip(sums, means(fabric, torch.stack(list(sums.values()))), strict=True))
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
            if is_due or stopped_by:
                _save(fabric, writer, done, task, identity)
            if stopped_by:
                writer.wait()
                fabric.barrier()  # or the first process to end takes the others with it
                _log.info(
                    "signal %d: stopped after step %d; run again to continue", stopped_by, done
                )
                raise Interrupted(stopped_by)
        writer.wait()
    module.eval()
    return metrics


def finish(folder: Path) -> None:
    """Remove what a training wrote into its folder, whose result is kept elsewhere.

    The folder goes too, if there is nothing else in it.
    """
    for name in (checkpoint.FILE_NAME, "metrics.jsonl", _EXPLODED):
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


class _Watch:
    """How the training goes, as all of its processes see it at the same steps.

    Args:
        fabric: launched.
        settings: of the loop.
        folder: where the names of a batch go whose loss is not a number.
        signals: gets those that this process receives.
        writer: of checkpoints, which may fail.
        first: step.
    """

    def __init__(
        self,
        fabric: Fabric,
        settings: LoopSettings,
        folder: Path,
        signals: list[int],
        writer: CheckpointWriter,
        first: int,
    ) -> None:
        self.fabric, self.settings, self.folder = fabric, settings, folder
        self.signals, self.writer = signals, writer
        # The first step whose loss was not a number, on the device; `steps`: there is none.
        self.bad = torch.full((), settings.steps, device=fabric.device)
        self.names: deque[tuple[int, list[str]]] = deque(maxlen=_MOST_STEPS)
        self.looked, self.next = first, first + 1
        self.looked_at = self.saved_at = time.monotonic()

    def note(self, step: int, loss: Tensor, names: list[str]) -> None:
        """Remember a step's loss, for which nobody waits, and what was in its batch."""
        self.bad = torch.where(loss.isfinite(), self.bad, self.bad.clamp(max=step))
        self.names.append((step, names))

    def wants(self, done: int) -> bool:
        """Whether all processes look after so many steps."""
        s = self.settings
        return (
            done >= self.next
            or done == s.steps
            or self._is_checkpoint(done)
            or bool(s.validate_every and done % s.validate_every == 0)
            or bool(self.signals and self.fabric.world_size == 1)
        )

    def look(self, done: int) -> tuple[int, bool]:
        """Agree: the signal to stop, or 0, and whether a checkpoint is due.

        Raises:
            InputError: a loss was not a number, or a checkpoint could not be written.
        """
        now = time.monotonic()
        a_step = (now - self.looked_at) / max(1, done - self.looked)
        pause = max(1, min(_MOST_STEPS, int(_LOOK_SECONDS / max(a_step, 1e-9))))
        late = now - self.saved_at > self.settings.checkpoint_seconds
        not_bad, signal, overdue, failed, at_most = largest(
            self.fabric,
            [
                -int(self.bad),
                self.signals[0] if self.signals else 0,
                int(late),
                int(self.writer.failed()),
                -pause,
            ],
        )
        if -not_bad < self.settings.steps:
            self._give_up(-not_bad)
        if failed:
            self.writer.wait()  # says why, in the process that writes
            raise InputError("the first process could not write the checkpoint; its log says why")
        self.looked, self.looked_at, self.next = done, now, done - at_most
        due = bool(overdue) or self._is_checkpoint(done)
        if due:
            self.saved_at = now
        return signal, due

    def _is_checkpoint(self, done: int) -> bool:
        every = self.settings.checkpoint_every
        return every is not None and done % every == 0

    def _give_up(self, step: int) -> None:
        path = self.folder / _EXPLODED
        own = [name for number, names in self.names if number == step for name in names]
        images = [name for names in everybodys(self.fabric, own) for name in names]
        if self.fabric.is_global_zero:
            write_text(path, json.dumps({"step": step, "images": images}, indent=1) + "\n")
        self.fabric.barrier()
        raise InputError(
            f"the loss of step {step} is not a number. The images of its batch are listed in "
            f"{path}; lower the learning rate or the gradient clip, or look at these images."
        )


def _save(
    fabric: Fabric, writer: CheckpointWriter, step: int, task: Task, identity: Mapping[str, Any]
) -> None:
    """Begin to write the checkpoint: the first process, with the random states of all."""
    states = everybodys(fabric, checkpoint.random_state(fabric.device))
    if fabric.is_global_zero:
        writer.write(
            {
                "step": step,
                "identity": json.dumps(identity, sort_keys=True),
                "random": states,
                **checkpoint.training_state(task.module, task.optimizer),
            }
        )


def _restore(fabric: Fabric, folder: Path, task: Task, identity: Mapping[str, Any]) -> int:
    """Load the checkpoint in every process; the number of steps done.

    It may come from another number of processes: the batches of a step do not depend on that, and
    a process that was not there before keeps its own random state.
    """
    path = folder / checkpoint.FILE_NAME
    state = checkpoint.load_checkpoint(path, identity)
    steps = 0 if state is None else int(state["step"])
    furthest, least = largest(fabric, [steps, -steps])
    if furthest != -least:
        raise InputError(
            f"the processes of this training see different checkpoints in {folder} (steps "
            f"{-least} and {furthest}): its file system is not the same on all nodes, or late. "
            "Run again; if that does not help, put the results on a file system that is."
        )
    if state is None:
        return 0
    checkpoint.restore_training_state(state, task.module, task.optimizer, path)
    if fabric.global_rank < len(state["random"]):
        checkpoint.restore_random_state(state["random"][fabric.global_rank], fabric.device)
    _log.info("continuing after step %d", steps)
    return steps


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


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _listed(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in numbers.items())
