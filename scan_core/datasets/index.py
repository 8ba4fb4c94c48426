"""The benchmark index: every image and label of every split, so that nothing searches folders."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np

from scan_core.storage.files import readable, write_text

_ROW = '    {"stem"'


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
    """Samples as columns: a fifth of the memory, which processes that read images share."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        rows = iter(samples)
        parts = []
        while chunk := list(islice(rows, 10_000)):
            parts.append([_column(getattr(s, name) for s in chunk) for name in _FIELDS])
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        self._columns = columns or [np.empty(0)] * len(_FIELDS)

    def __len__(self) -> int:
        return len(self._columns[0])

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice) -> "SampleTable": ...
    def __getitem__(self, place: int | slice) -> "Sample | SampleTable":
        if isinstance(place, slice):
            part = SampleTable(())
            part._columns = [column[place] for column in self._columns]
            return part
        row: list[Any] = [column[place].item() for column in self._columns]
        row = [value.decode() if isinstance(value, bytes) else value for value in row]
        return Sample(*row)


_FIELDS = [field.name for field in fields(Sample)]


def _column(values: Iterable[str | int]) -> np.ndarray[Any, Any]:
    return np.array([v.encode() if isinstance(v, str) else v for v in values])


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
    """Read an index, line by line: there may be a million images.

    Raises:
        InputError: unreadable or damaged.
    """
    others = []

    def rows() -> Iterator[Sample]:
        with path.open(encoding="utf-8") as file:
            for line in file:
                if line.startswith(_ROW):
                    yield Sample(**json.loads(line.rstrip(",\n")))
                else:
                    others.append(line)

    with readable(path, "delete it to have it made again"):
        table, start = SampleTable(rows()), 0
        record: dict[str, Any] = json.loads("".join(others))
        splits = {}
        for name, split in record.pop("splits").items():
            end = start + split.pop("images")
            splits[name] = Split(**split | {"samples": table[start:end]})
            start = end
        if start != len(table):
            raise ValueError(f"{len(table)} images instead of {start}")
        return BenchmarkIndex(**record | {"names": tuple(record["names"])}, splits=splits)
