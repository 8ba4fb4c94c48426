"""The benchmark index: every image and label of every split, so that nothing searches folders."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scan_core.errors import InputError
from scan_core.storage.atomic import write_text

_DIGEST = ', "sha256": "'


@dataclass(frozen=True)
class Sample:
    """One image with its label map.

    Attributes:
        stem: file name without suffix, unique within a split.
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


@dataclass(frozen=True)
class Split:
    """The samples of one split, and what was left out of it.

    Attributes:
        image_root: folder of the images; relative to the index file, or absolute.
        label_root: folder of the label maps; likewise.
        samples: in the order of the benchmark's own list.
        skipped: stem -> why it is not among the samples.
    """

    image_root: str
    label_root: str
    samples: tuple[Sample, ...]
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
        """Write the index atomically, one sample a line, with a digest of itself at its end."""
        header = asdict(self)
        del header["splits"]
        parts = []
        for name, split in self.splits.items():
            fields = {
                "image_root": split.image_root,
                "label_root": split.label_root,
                "skipped": split.skipped,
            }
            rows = ",\n".join(f"    {json.dumps(asdict(sample))}" for sample in split.samples)
            start = json.dumps(fields)[:-1]
            parts.append(f'  {json.dumps(name)}: {start}, "samples": [\n{rows}\n  ]}}')
        start = json.dumps(header)[:-1]
        body = f'{start}, "splits": {{\n' + ",\n".join(parts) + "\n}"
        write_text(path, f'{body}{_DIGEST}{_digest(body)}"}}\n')


def load_index(path: Path) -> BenchmarkIndex:
    """Read an index.

    Raises:
        InputError: unreadable or damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
        body, _, end = text.rpartition(_DIGEST)
        if end != f'{_digest(body)}"}}\n':
            raise ValueError("its digest is not that of its contents")
        record: dict[str, Any] = json.loads(f"{body}}}")
        splits = {
            name: Split(
                image_root=split["image_root"],
                label_root=split["label_root"],
                samples=tuple(Sample(**sample) for sample in split["samples"]),
                skipped=split["skipped"],
            )
            for name, split in record.pop("splits").items()
        }
        return BenchmarkIndex(**{**record, "names": tuple(record["names"])}, splits=splits)
    except OSError as error:
        raise InputError(f"benchmark index {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"benchmark index {path} is damaged ({error}); delete it to have it made again"
        ) from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
