"""Batches on their way from the files to the network.

Other processes read them while the network learns. They come through shared memory, or, where
that is too small for what is read ahead (64 MB in a container of Docker), through pipes.
"""

import logging
import multiprocessing
import shutil
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from scan_core.command.stopping import ignore_stop_signals
from scan_core.errors import InputError

SHARED_MEMORY = Path("/dev/shm")
# What one process reads ahead, in bytes and in batches of each of its workers, at the most.
_READ_AHEAD, _MOST_AHEAD = 256_000_000, 4
# Where no batch comes for so many seconds, those that read are ended.
_PATIENCE = 600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Base of all micro-batches: a dataclass of tensors, lists of tensors, and whatever else."""

    def changed(self, change: Callable[[Any], Any]) -> Self:
        """The same with something done to every tensor."""

        def of(value: Any) -> Any:
            if isinstance(value, Tensor | np.ndarray):
                return change(value)
            return [of(one) for one in value] if isinstance(value, list) else value

        return replace(self, **{f.name: of(getattr(self, f.name)) for f in fields(self)})

    def pin_memory(self) -> Self:
        """In memory that a GPU copies from by itself; PyTorch's loader calls this."""
        return self.changed(lambda tensor: torch.as_tensor(tensor).pin_memory())

    def to(self, device: torch.device) -> Self:
        """On a device. From pinned memory nobody waits for the copy."""
        return self.changed(lambda t: torch.as_tensor(t).to(device, non_blocking=True))

    def nbytes(self) -> int:
        """Of all its tensors together."""
        sizes: list[int] = []

        def count(tensor: Any) -> Any:
            sizes.append(tensor.nbytes)
            return tensor

        self.changed(count)
        return sum(sizes)


B = TypeVar("B", bound=Batch)


def read_steps(
    dataset: Dataset[B],
    positions: Iterable[list[int]],
    joined: Callable[[Sequence[B]], B],
    workers: int,
    micro_batches: int = 1,
    processes: int = 1,
) -> Iterator[Sequence[B]]:
    """The micro-batches of step after step. Close the iterator to end the workers.

    Args:
        dataset: position -> a batch of one.
        positions: of the micro-batches; it begins anew whenever it is iterated over.
        joined: makes one batch of several.
        workers: processes that read; 0: this one.
        micro_batches: of a step.
        processes: of this training that read on this machine, at the most.
    """
    ahead, through_pipes = None, False
    if workers:
        # Not by a worker: what it takes decides how they are started.
        size = joined([dataset[p] for p in next(iter(positions))]).nbytes()
        ahead = int(min(max(_READ_AHEAD // (workers * max(1, size)), 1), _MOST_AHEAD))
        through_pipes = not _fits(size * (workers * ahead + 2) * processes)
    loader = DataLoader(
        dataset,
        batch_sampler=positions,
        collate_fn=_Collated(joined, through_pipes),
        num_workers=workers,
        prefetch_factor=ahead,
        # Or it takes a number from the global random state, which a resumed run has restored.
        generator=torch.Generator(),
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_begin_worker,
    )
    others = set(multiprocessing.active_children())
    iterator = iter(loader)
    readers = set(multiprocessing.active_children()) - others
    try:
        while True:
            with _ended_if_late(readers):
                batches = list(islice(iterator, micro_batches))
            yield batches
    except (EOFError, ConnectionError) as error:  # a reader was gone in the middle of a batch
        raise _no_more_batches(error) from None
    finally:
        del iterator  # ends the workers


@contextmanager
def explained_reading() -> Iterator[None]:
    """Say it for people when a worker dies, or a batch does not come.

    Raises:
        InputError: in place of what PyTorch says.
    """
    try:
        yield
    except RuntimeError as error:
        # A worker's death is noticed at any line of the process that started it.
        if not str(error).startswith("DataLoader"):
            raise
        raise _no_more_batches(error) from None


def _no_more_batches(error: Exception) -> InputError:
    return InputError(
        f"no more batches come ({error}). A process that reads them was killed, or reads too "
        "slowly: is there enough memory (also in /dev/shm), and does the file system answer? "
        "Run again to continue from the last checkpoint, with fewer --workers if memory was short."
    )


@contextmanager
def _ended_if_late(readers: Collection[BaseProcess]) -> Iterator[None]:
    """Kill those that read if this takes too long: one that hangs, or is stopped, holds up all.

    PyTorch's own time limit does not help: a batch that has come is still fetched from its reader.
    """

    def end() -> None:
        _log.error("no batch has come for %.0f s: the processes that read are ended", _PATIENCE)
        for reader in readers:
            reader.kill()

    timer = threading.Timer(_PATIENCE, end)
    if readers:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


@dataclass(frozen=True)
class _Collated:
    """Joins batches, in a worker; for a pipe as arrays, which are pickled with their values."""

    joined: Callable[[Sequence[Any]], Any]
    through_pipes: bool

    def __call__(self, batches: Sequence[Any]) -> Any:
        batch = self.joined(batches)
        return batch.changed(Tensor.numpy) if self.through_pipes else batch


def _begin_worker(number: int) -> None:
    # A signal to all processes of a training is for those that train: they end the workers.
    ignore_stop_signals()


def _fits(needed: int) -> bool:
    """Whether so many bytes fit into shared memory."""
    if sys.platform != "linux":
        return True
    free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0
    if needed <= free:
        return True
    _log.info(
        "batches come through pipes, more slowly: %d MB are read ahead, and %s has %d MB free "
        "(Docker: --shm-size)",
        *(needed // 10**6, SHARED_MEMORY, free // 10**6),
    )
    return False
