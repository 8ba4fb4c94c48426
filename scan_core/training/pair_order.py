"""The order in which fine-tuning sees its pairs: every image is read once for all of its own.

A batch is a table whose rows go on from step to step. Each row takes the pairs of one image after
the other, so that whoever reads for a row keeps an image only until the next one, and the crops
of a batch are of different images, as if pairs were drawn at random.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scan_core.training.sampler import MicroBatches


class PairOrder:
    """Which pair stands at a position, which is step × batch size + row.

    In every epoch images and the pairs of each are shuffled anew. Where the number of pairs is no
    multiple of the batch size, a different remainder is left out of each epoch.

    Args:
        images: of each pair, the number of its image.
        batch_size: rows.
        seed: of the order.
    """

    def __init__(self, images: Sequence[int], batch_size: int, seed: int) -> None:
        _, self.image = np.unique(np.asarray(images), return_inverse=True)
        self.rows, self.seed = batch_size, seed
        self.steps = max(1, len(images) // batch_size)
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def __getitem__(self, position: int) -> int:
        step, row = divmod(position, self.rows)
        epoch, step = divmod(step, self.steps)
        order = self._epoch(epoch)
        return int(order[(row * self.steps + step) % len(order)])

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in self.__dict__.items() if key != "_epoch"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self.seed, 101, epoch])
        of_image = rng.permutation(self.image.max() + 1)
        return np.lexsort((rng.random(len(self.image)), of_image[self.image]))


class RowsOfReaders:
    """A process's positions of each step, cut into a part for each of its readers.

    A row of the batch always falls to the same reader (a batch sampler: PyTorch's loader gives
    its batches to its workers in turn).

    Args:
        positions: of the process, a batch of each step.
        readers: number of parts, not above the length of a batch.
    """

    def __init__(self, positions: MicroBatches, readers: int) -> None:
        self.positions, self.readers = positions, readers

    def __iter__(self) -> Iterator[list[int]]:
        for mine in self.positions:
            for part in np.array_split(mine, self.readers):
                yield part.tolist()
