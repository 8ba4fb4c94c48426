"""Which sample comes when: a function of seed and position alone, so that training can resume."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from scan_core.errors import InputError


@lru_cache(maxsize=4)
def _shuffled(seed: int, epoch: int, samples: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, 101, epoch]).permutation(samples)


def sample_at(seed: int, position: int, samples: int) -> int:
    """The sample at a position of an endless sequence that is shuffled anew in every epoch.

    Args:
        seed: of the sequence.
        position: from 0.
        samples: how many there are.
    """
    return int(_shuffled(seed, position // samples, samples)[position % samples])


def augmentation_stream(seed: int, position: int) -> np.random.Generator:
    """The random numbers of the augmentation at a position."""
    return np.random.default_rng([seed, 102, position])


def seeded(device: torch.device, *key: int) -> torch.Generator:
    """A generator on a device, seeded by a key of whole numbers."""
    entropy = np.random.SeedSequence([*key]).generate_state(2, np.uint32)
    number = int(entropy[0]) << 31 | int(entropy[1]) >> 1
    return torch.Generator(device).manual_seed(number)


class MicroBatches:
    """Positions of the micro-batches of one process, step after step (a batch sampler).

    A step's positions are dealt to the processes in turn, so that the same images make a step
    on any number of processes and with any number of micro-batches.

    Args:
        first_step: where to begin.
        batch_size: positions of a step, over all processes.
        rank: of this process.
        processes: number of them.
        micro_batches: of each process and step.
    """

    def __init__(
        self, first_step: int, batch_size: int, rank: int, processes: int, micro_batches: int
    ) -> None:
        if batch_size % (processes * micro_batches):
            raise InputError(
                f"a batch of {batch_size} cannot be split over {processes} processes with "
                f"{micro_batches} micro-batches each; take a number of devices that divides it"
            )
        self.first_step, self.batch_size = first_step, batch_size
        self.rank, self.processes, self.micro_batches = rank, processes, micro_batches

    def __iter__(self) -> Iterator[list[int]]:
        size = self.batch_size // (self.processes * self.micro_batches)
        step = self.first_step
        while True:
            mine = range(
                step * self.batch_size + self.rank, (step + 1) * self.batch_size, self.processes
            )
            for micro in range(self.micro_batches):
                yield list(mine[micro * size : (micro + 1) * size])
            step += 1
