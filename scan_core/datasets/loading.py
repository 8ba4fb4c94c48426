"""Images and label maps of a converted benchmark, read from its index."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scan_core.datasets.index import BenchmarkIndex, load_index
from scan_core.errors import InputError
from scan_core.storage.files import file_digest
from scan_core.storage.images import read_image, read_label


class BenchmarkImages:
    """One split of a benchmark.

    Args:
        index_file: the benchmark's `index.json`.
        split: `train` or `val`.

    Raises:
        InputError: unreadable index, or it has no such split.
    """

    def __init__(self, index_file: Path, split: str) -> None:
        self.index_file = index_file
        self.index: BenchmarkIndex = load_index(index_file)
        if split not in self.index.splits:
            raise InputError(f"{index_file} has no split '{split}', only {list(self.index.splits)}")
        self.split = split
        self._split = self.index.splits[split]
        self._images = index_file.parent / self._split.image_root
        self._labels = index_file.parent / self._split.label_root

    def __len__(self) -> int:
        return len(self._split.samples)

    def stem(self, number: int) -> str:
        """The key of an image, see `pairing`: its path without suffix, unique within the split."""
        return self._split.samples[number].stem

    def file_name(self, number: int) -> str:
        """The path of an image's file below the folder of its split."""
        return self._split.samples[number].image

    def check(self, number: int) -> None:
        """Compare the files of an image with the index, without decoding them.

        Raises:
            InputError: one is missing, or not the one that was converted.
        """
        sample = self._split.samples[number]
        files = {
            self._images / sample.image: sample.image_sha256,
            self._labels / sample.label: sample.label_sha256,
        }
        with _advice():
            for path, sha256 in files.items():
                if not path.is_file() or (sha256 and file_digest(path) != sha256):
                    raise InputError(f"{path} is missing, or not the file that was converted")

    def image(self, number: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, RGB.

        Raises:
            InputError: the file is missing, damaged, or not the one that was converted.
        """
        sample = self._split.samples[number]
        with _advice():
            return read_image(self._images / sample.image, sha256=sample.image_sha256)

    def label(self, number: int) -> NDArray[np.int32]:
        """(H, W) int32: training ids, −1 without ground truth.

        Raises:
            InputError: the file is missing, damaged, or not the one that was converted.
        """
        sample = self._split.samples[number]
        with _advice():
            raw = read_label(self._labels / sample.label, sha256=sample.label_sha256)
        array = raw.astype(np.int32)
        array[array == self.index.ignore_label] = -1
        return array


@contextmanager
def _advice() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}. Delete its benchmark's folder to convert it again.") from None
