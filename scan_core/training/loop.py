"""The training loop of every network of the project, on Lightning Fabric.

A training continues where it was stopped, at any moment and by any means, and ends with the same
weights: batches and augmentations are functions of the step's number, and a checkpoint holds
everything else (weights, optimiser, random states).

Within a step no process waits for another one or for its GPU, unless the task does. Whenever
losses are recorded or a checkpoint is due, one all-reduce decides whether a loss was NaN or
infinite, a stop signal came, or a checkpoint is overdue.
"""

import json
import logging
import random
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from tqdm import tqdm

from scan_core.errors import InputError
from scan_core.models.cpu_linear import convolutional_linear
from scan_core.params.command_line import Interrupted, stop_signals
from scan_core.params.provenance import package_hash
from scan_core.params.recipe_part import RecipePart, as_text
from scan_core.storage.files import file_digest, write_text
from scan_core.storage.weights import load_state, save_state
from scan_core.training.processes import all_gather_object, all_reduce

# Called with a step and what was measured in it.
Record = Callable[[int, Mapping[str, float]], None]

_log = logging.getLogger(__name__)
# Files in a training's work folder.
_CHECKPOINT, _METRICS, _EXPLODED, _LOCK = (
    "checkpoint.pt", "metrics.jsonl", "exploded.json", "training.lock",
)  # fmt: skip
_HINT = "delete it to train from the start"
# Seconds that a training waits for another one in its folder, which may be about to end.
_PATIENCE = 60.0


@dataclass(frozen=True)
class LoopSettings:
    """How long a training is, and how often it is looked at.

    Attributes:
        steps: optimiser steps.
        gradient_clip: maximum norm of the whole gradient; None: no clipping.
        checkpoint_every: steps between checkpoints; None: by time alone.
        validate_every: steps between validations; None: never.
        log_every: steps between lines of `metrics.jsonl`.
        checkpoint_seconds: time after which a checkpoint is written in any case.
    """

    steps: int
    gradient_clip: float | None = 1.0
    checkpoint_every: int | None = None
    validate_every: int | None = None
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

        A micro-batch consists of tensors and of whatever else, in lists and named tuples. The
        iterator is closed at the end.
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
        """Results of a validation, such as `validation_miou`."""
        return {}

    def names(self, batch: Any) -> list[str]:
        """The images of a micro-batch, to be listed when its loss explodes."""
        return []


def identity_of(part: RecipePart, module: str, **files: Path | None) -> dict[str, Any]:
    """What the result of a training depends on.

    Args:
        part: of the recipe.
        module: that trains, whose code counts with all that it imports.
        files: by what they are.
    """
    digests = {name: file_digest(path) if path else None for name, path in files.items()}
    return {"part": as_text(part), "code": package_hash(module), **digests}


def train(
    fabric: Fabric,
    task: Task,
    settings: LoopSettings,
    folder: Path,
    identity: Mapping[str, Any],
    record: Record | None = None,
) -> Path:
    """Train, from the last checkpoint in `folder` if there is one.

    Args:
        fabric: launched.
        task: what to train.
        settings: how long, how often.
        folder: for checkpoint and metrics while training; call `finish` once the result is kept.
        identity: what the result depends on. A checkpoint of another identity is not continued.
        record: called by the first process with every line of the metrics.

    Returns:
        `metrics.jsonl`, the record of the training.

    Raises:
        InputError: a loss was NaN or infinite (the images are listed beside the checkpoint), the
            checkpoint does not fit, or another process trains in this folder.
        Interrupted: a stop signal came; the same call continues.
    """
    with (
        _alone_in(fabric, folder),
        stop_signals() as signals,
        convolutional_linear(task.module),
    ):
        module, optimizer = fabric.setup(task.module, task.optimizer)
        trainable = [p for p in task.module.parameters() if p.requires_grad]
        first = _restore(fabric, folder, task, identity)
        metrics = folder / _METRICS
        if fabric.is_global_zero:
            _truncate(metrics, first)

        def append(values: Mapping[str, float]) -> None:
            if fabric.is_global_zero:
                with metrics.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"step": done, **values}) + "\n")
                if record is not None:
                    record(done, values)

        # The first step whose loss was NaN or infinite, on the device; `steps`: there is none.
        exploded = torch.full((), settings.steps, device=fabric.device)
        names = deque[tuple[int, list[str]]](maxlen=settings.log_every)
        saved_at = time.monotonic()
        progress = tqdm(
            total=settings.steps,
            initial=first,
            unit="step",
            mininterval=10,
            disable=not fabric.is_global_zero,
        )
        module.train()
        with progress, closing(task.batches(first)) as steps:  # type: ignore[type-var]
            for step in range(first, settings.steps):
                batches = next(steps)
                rate = task.learning_rate(step)
                sums: dict[str, Tensor] = {}
                for number, batch in enumerate(batches, start=1):
                    with fabric.no_backward_sync(module, enabled=number < len(batches)):
                        on_device = fabric.to_device(batch)
                        losses = task.losses(module, on_device, step, batches)
                        fabric.backward(losses["loss"] / len(batches))
                    for name, value in losses.items():
                        sums[name] = sums.get(name, 0) + value.detach() / len(batches)
                optimizer_step(optimizer, trainable, rate, settings.gradient_clip)

                done = step + 1
                progress.update()
                exploded = torch.where(sums["loss"].isfinite(), exploded, exploded.clamp(max=step))
                names.append((step, [name for batch in batches for name in task.names(batch)]))
                logs = _is_due(done, settings.log_every) or done == settings.steps
                validates = _is_due(done, settings.validate_every)
                saves = _is_due(done, settings.checkpoint_every)
                if not (logs or validates or saves or (signals and fabric.world_size == 1)):
                    continue
                late = time.monotonic() - saved_at > settings.checkpoint_seconds
                agreed = torch.tensor([-int(exploded), signals[0] if signals else 0, int(late)])
                not_exploded, stopped_by, overdue = all_reduce(fabric, agreed, "max").tolist()
                if -not_exploded < settings.steps:
                    _give_up(fabric, folder / _EXPLODED, -not_exploded, dict(names))
                if logs:
                    means = all_reduce(fabric, torch.stack(list(sums.values())), "sum")
                    row = dict(zip(sums, (means / fabric.world_size).tolist(), strict=True))
                    append({**row, "learning_rate": rate})
                    progress.set_postfix(loss=f"{row['loss']:.4f}", refresh=False)
                if validates:
                    module.eval()
                    numbers = task.validate()
                    module.train()
                    append(numbers)
                    _log.info("step %d: %s", done, numbers)
                if saves or overdue or stopped_by:
                    _save(fabric, folder / _CHECKPOINT, done, task, identity)
                    saved_at = time.monotonic()
                if stopped_by:
                    _log.info(
                        "signal %d: stopped after step %d; run again to continue",
                        *(stopped_by, done),
                    )
                    raise Interrupted(stopped_by)
        module.eval()
    return metrics


def finish(folder: Path) -> None:
    """Remove what a training wrote into its folder, whose result is kept elsewhere.

    The folder goes too, if there is nothing else in it.
    """
    for name in (_CHECKPOINT, _METRICS, _EXPLODED, _LOCK):
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def adamw(
    decayed: Iterable[nn.Parameter],
    exempt: Iterable[nn.Parameter],
    learning_rate: float,
    weight_decay: float,
    **constants: Any,
) -> AdamW:
    """AdamW; `exempt` has no weight decay, and `constants` differ from PyTorch's own."""
    groups = [
        {"params": list(decayed), "weight_decay": weight_decay},
        {"params": list(exempt), "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=learning_rate, fused=True, **constants)


def optimizer_step(
    optimizer: Optimizer,
    parameters: Sequence[nn.Parameter],
    learning_rate: float,
    gradient_clip: float | None,
) -> Tensor | None:
    """Change the weights by their gradients, which are then cleared.

    Args:
        optimizer: all groups of which get the learning rate.
        parameters: those that are trained.
        learning_rate: of this step.
        gradient_clip: maximum norm of all gradients together; None: no clipping.

    Returns:
        the norm before clipping, a scalar; None without clipping.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    norm = None
    if gradient_clip is not None:
        norm = nn.utils.clip_grad_norm_(parameters, gradient_clip, foreach=True)
    optimizer.step()
    optimizer.zero_grad()
    return norm


def _is_due(done: int, every: int | None) -> bool:
    return every is not None and done % every == 0


@contextmanager
def _alone_in(fabric: Fabric, folder: Path) -> Iterator[None]:
    """Hold the lock of a work folder, in the first process of a training."""
    lock = FileLock(folder / _LOCK)
    is_taken = False
    if fabric.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=_PATIENCE)
        except Timeout:
            is_taken = True
    if all_reduce(fabric, torch.tensor(int(is_taken)), "max"):
        raise InputError(
            f"another process trains in {folder}. Wait for it, or end it; if there is none, "
            f"delete {lock.lock_file}."
        )
    try:
        yield
    finally:
        lock.release()


def _give_up(fabric: Fabric, path: Path, step: int, names: Mapping[int, list[str]]) -> None:
    """List the images of a step whose loss was NaN or infinite, and end the training."""
    images = [name for part in all_gather_object(fabric, names[step]) for name in part]
    if fabric.is_global_zero:
        write_text(path, json.dumps({"step": step, "images": images}, indent=1) + "\n")
    fabric.barrier()
    raise InputError(
        f"the loss of step {step} is NaN or infinite. The images of its batch are listed in "
        f"{path}; lower the learning rate or the gradient clip, or look at these images."
    )


def _save(fabric: Fabric, path: Path, step: int, task: Task, identity: Mapping[str, Any]) -> None:
    """Write a checkpoint: the first process, with the random states of all.

    Not by `fabric.save`, which writes to the system's temporary folder first, and takes three
    times as long.
    """
    random_states = all_gather_object(fabric, _random_state(fabric.device))
    if fabric.is_global_zero:
        state = {
            "step": step,
            "identity": json.dumps(identity, sort_keys=True),
            "random": random_states,
            "module": _trained(task.module),
            "optimizer": task.optimizer.state_dict(),
        }
        save_state(path, state)
    fabric.barrier()


def _restore(fabric: Fabric, folder: Path, task: Task, identity: Mapping[str, Any]) -> int:
    """Load the checkpoint in every process; the number of steps done.

    It may come from another number of processes: the batches of a step do not depend on that, and
    a process that was not there before keeps its own random state.
    """
    path = folder / _CHECKPOINT
    state = load_state(path, _HINT) if path.is_file() else None
    if state is not None and (other := _differences(identity, json.loads(state["identity"]))):
        _log.info("%s is of another %s: training from the start", path, ", ".join(other))
        state = None
    steps = 0 if state is None else int(state["step"])
    last, first = all_reduce(fabric, torch.tensor([steps, -steps]), "max").tolist()
    if last != -first:
        raise InputError(
            f"the processes of this training see different checkpoints in {folder} (steps "
            f"{-first} and {last}): its file system is not the same on all nodes, or late. "
            "Run again; if that does not help, put the results on a file system that is."
        )
    if state is None:
        return 0
    try:
        task.module.load_state_dict({**task.module.state_dict(), **state["module"]})
        task.optimizer.load_state_dict(state["optimizer"])
        if fabric.global_rank < len(state["random"]):
            _restore_random_state(state["random"][fabric.global_rank], fabric.device)
    except (KeyError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} does not fit this training ({error}); {_HINT}") from None
    _log.info("continuing after step %d", steps)
    return steps


def _differences(identity: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    now = json.loads(json.dumps(identity))
    return sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))


def _trained(module: nn.Module) -> dict[str, Tensor]:
    """Trainable parameters and buffers: what training can have changed."""
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    return {name: t for name, t in module.state_dict().items() if name not in frozen}


def _random_state(device: torch.device) -> dict[str, Any]:
    """Python's and PyTorch's random states, of this process and of its device."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": list(random.getstate()[1]),
    }


def _restore_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Put back a state of `_random_state`; that of another kind of device is left out."""
    torch.set_rng_state(state["torch"])
    random.setstate((3, tuple(state["python"]), None))
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def _truncate(path: Path, steps: int) -> None:
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
