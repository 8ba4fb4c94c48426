"""The benchmark index: every image and label of every split, so that nothing searches folders."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scan_core.storage.files import readable, write_text

_ROW = re.compile(rb'^    (\{"stem".*\}),?\n', re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """One image with its label map.

    Attributes:
        stem: the image's key, see `pairing`: its path without suffix, unique within a split.
        image: path of the image, relative to the split's `image_root`.
        label: path of the label map, relative to the split's `label_root`.
        width: pixels.
        height: pixels.
        label_sha256: of the label map's file, hexadecimal; empty: not known, and not compared.
        image_sha256: of the image's file, likewise.
    """

    stem: str
    image: str
    label: str
    width: int
    height: int
    label_sha256: str = ""
    image_sha256: str = ""


class SampleTable(Sequence[Sample]):
    """The rows of an index, parsed when they are asked for.

    Their text takes a third of the memory of samples, and processes that read images share it.

    Args:
        content: of the index file.
        spans: (samples, 2), where the row of each begins and ends.
    """

    def __init__(self, content: bytes, spans: NDArray[np.int64]) -> None:
        self._content, self._spans = content, spans

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, place: Any) -> Any:
        start, end = self._spans[place]
        return Sample(**json.loads(self._content[start:end]))


@dataclass(frozen=True)
class Split:
    """The samples of one split, and what was left out of it.

    Attributes:
        image_root: folder of the images; relative to the index file, or absolute.
        label_root: folder of the label maps; likewise.
        samples: in the order of the benchmark's own list.
        skipped: key -> why it is not among the samples.
    """

    image_root: str
    label_root: str
    samples: Sequence[Sample]
    skipped: dict[str, str]

    @property
    def listed(self) -> int:
        """Number of images that the benchmark lists, skipped ones included."""
        return len(self.samples) + len(self.skipped)


@dataclass(frozen=True)
class BenchmarkIndex:
    """One benchmark.

    Attributes:
        name: its name in the recipe.
        format: the raw format it was converted from.
        classes: the class list's name (of one's own, the file's stem).
        names: class names in training-id order.
        ignore_label: pixel value without ground truth.
        splits: `train` and/or `val`.
    """

    name: str
    format: str
    classes: str
    names: tuple[str, ...]
    ignore_label: int
    splits: dict[str, Split]

    def save(self, path: Path) -> None:
        """Write the index as JSON, one sample a line."""
        header = {name: getattr(self, name) for name in list(self.__annotations__)[:-1]}
        parts = []
        for name, split in self.splits.items():
            about = asdict(replace(split, samples=())) | {"images": len(split.samples)}
            del about["samples"]
            rows = ",\n".join(f"    {json.dumps(asdict(sample))}" for sample in split.samples)
            start = json.dumps(about)[:-1]
            parts.append(f'  {json.dumps(name)}: {start}, "samples": [\n{rows}\n  ]}}')
        start = json.dumps(header)[:-1]
        write_text(path, f'{start}, "splits": {{\n' + ",\n".join(parts) + "\n}}\n")


def load_index(path: Path) -> BenchmarkIndex:
    """Read an index.

    Raises:
        InputError: unreadable or damaged.
    """
    with readable(path, "delete it to have it made again"):
        content, found = path.read_bytes(), []
        for row in _ROW.finditer(content):
            Sample(**json.loads(row[1]))  # damage is told now
            found.append(row.span(1))
        spans, start = np.array(found, np.int64), 0
        record: dict[str, Any] = json.loads(_ROW.sub(b"", content))
        splits = {}
        for name, split in record.pop("splits").items():
            end = start + split.pop("images")
            splits[name] = Split(**split | {"samples": SampleTable(content, spans[start:end])})
            start = end
        if start != len(spans):
            raise ValueError(f"{len(spans)} images instead of {start}")
        return BenchmarkIndex(**record | {"names": tuple(record["names"])}, splits=splits)
