"""Which samples a training step consists of, and how they come from the files to the network.

The order of samples and their augmentation are functions of the seed and of a sample's position,
which is step × batch size + row. A training therefore resumes exactly, on any number of processes.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, count, islice
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from scan_core.errors import InputError
from scan_core.params.command_line import ignore_stop_signals

# Seconds without a batch after which PyTorch gives up.
_TIMEOUT = 600.0
# Workers hand over tensors through Unix sockets in the folder for temporary files. The path of a
# socket has at most 107 bytes, 32 of which multiprocessing takes for names of its own.
_LONGEST_FOLDER = 75

B = TypeVar("B")


@lru_cache(maxsize=4)
def _shuffled(seed: int, epoch: int, samples: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, 101, epoch]).permutation(samples)


def sample_at(seed: int, position: int, samples: int) -> int:
    """The sample at a position of an endless sequence that is shuffled anew in every epoch."""
    return int(_shuffled(seed, position // samples, samples)[position % samples])


def augmentation_stream(seed: int, position: int) -> np.random.Generator:
    """The random numbers of the augmentation at a position."""
    return np.random.default_rng([seed, 102, position])


def seeded(device: torch.device, *key: int) -> torch.Generator:
    """A generator on a device, seeded by a key of integers."""
    entropy = np.random.SeedSequence([*key]).generate_state(2, np.uint32)
    number = int(entropy[0]) << 31 | int(entropy[1]) >> 1
    return torch.Generator(device).manual_seed(number)


def micro_batches(
    first_step: int, batch_size: int, rank: int, processes: int, parts: int = 1
) -> Iterator[list[int]]:
    """Positions of the micro-batches of one process, step after step (a batch sampler).

    A step's positions are dealt to the processes in turn, so that the same samples make a step on
    any number of processes and with any number of micro-batches.

    Args:
        first_step: where to begin.
        batch_size: positions of a step, over all processes.
        rank: of this process.
        processes: number of processes.
        parts: micro-batches per process and step.

    Raises:
        InputError: the batch cannot be split in this way.
    """
    if batch_size % (processes * parts):
        raise InputError(
            f"a batch of {batch_size} cannot be split over {processes} processes with "
            f"{parts} micro-batches each; take a number of devices that divides it"
        )
    size = batch_size // (processes * parts)
    for step in count(first_step):
        mine = range(step * batch_size + rank, (step + 1) * batch_size, processes)
        for part in range(parts):
            yield list(mine[part * size : (part + 1) * size])


def read_steps(
    dataset: Dataset[B], positions: Iterable[list[int]], workers: int, parts: int = 1
) -> Iterator[Sequence[B]]:
    """The micro-batches of step after step. Closing the iterator ends the workers.

    Args:
        dataset: position -> a batch of one, a named tuple of tensors and lists.
        positions: of the micro-batches.
        workers: processes that read; 0: this one.
        parts: micro-batches per step.
    """
    if len(tempfile.gettempdir().encode()) > _LONGEST_FOLDER:
        tempfile.tempdir = "/tmp"
    loader = DataLoader(
        dataset,
        batch_sampler=positions,
        collate_fn=_joined,
        num_workers=workers,
        # Otherwise the loader draws from the global random state, which a resumed run has restored.
        generator=torch.Generator(),
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_ignore_stop_signals,
        timeout=_TIMEOUT if workers else 0,
    )
    iterator = iter(loader)
    while True:
        yield list(islice(iterator, parts))


def _joined(batches: Sequence[Any]) -> Any:
    """One batch of several."""
    fields = zip(*batches, strict=True)
    return type(batches[0])(
        *(torch.cat(f) if isinstance(f[0], Tensor) else list(chain(*f)) for f in fields)
    )


def _ignore_stop_signals(worker: int) -> None:
    """A signal to all processes of a training is for those that train, which end the workers."""
    ignore_stop_signals()
