"""Images and label maps of a converted benchmark, read from its index."""

import hashlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scan_core.datasets.index import BenchmarkIndex, load_index
from scan_core.errors import InputError


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
        self._split = self.index.splits[split]
        self._images = index_file.parent / self._split.image_root
        self._labels = index_file.parent / self._split.label_root

    def __len__(self) -> int:
        return len(self._split.samples)

    def stem(self, number: int) -> str:
        """The name of an image, unique within the split."""
        return self._split.samples[number].stem

    def file_name(self, number: int) -> str:
        """The name of an image's file, without its folder."""
        return Path(self._split.samples[number].image).name

    def image(self, number: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, RGB.

        Raises:
            InputError: the file is missing, damaged, or not the one that was converted.
        """
        sample = self._split.samples[number]
        array = _read(self._images / sample.image, "RGB", sample.image_sha256)
        return array.astype(np.uint8, copy=False)

    def label(self, number: int) -> NDArray[np.int32]:
        """(H, W) int32: training ids, −1 without ground truth.

        Raises:
            InputError: the file is missing, damaged, or not the one that was converted.
        """
        sample = self._split.samples[number]
        array = _read(self._labels / sample.label, None, sample.label_sha256).astype(np.int32)
        array[array == self.index.ignore_label] = -1
        return array


def _read(path: Path, mode: str | None, sha256: str) -> NDArray[np.generic]:
    try:
        content = path.read_bytes()
        # Decoders notice few changed bits: of a label map none, of a photo those of its frame.
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError("it is not the file that the benchmark's index was written for")
        with Image.open(io.BytesIO(content)) as image:
            return np.array(image if mode is None else image.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path} cannot be read: {reason}. Delete its benchmark's folder to convert it again."
        ) from None
