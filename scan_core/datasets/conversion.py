"""Conversion of raw data into label maps of training ids and an index of images and labels."""

import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scan_core.datasets.formats import RawFormat
from scan_core.datasets.index import BenchmarkIndex, Sample, Split
from scan_core.datasets.pairing import RawPair, RawSplit
from scan_core.datasets.prepared import prepared_split, read_prepared
from scan_core.datasets.reading_ahead import outcomes
from scan_core.errors import InputError, first_of
from scan_core.storage.files import atomic_folder, file_digest
from scan_core.storage.images import check_image, read_image
from scan_core.vocabulary.classes import ClassList

_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Conversion:
    """How the raw data of a benchmark is converted.

    Attributes:
        raw_format: the layout to read.
        classes: the vocabulary; raw values outside it become its `ignore_label`.
        workers: threads.
        released_label_reduction: whether label maps are reduced by the release's rule,
            floor(x · s), which takes the first pixel of each step, instead of the middle one.
    """

    raw_format: RawFormat
    classes: ClassList
    workers: int = 1
    released_label_reduction: bool = False

    def convert(
        self, raw_root: Path, output: Path, splits: Mapping[str, str], name: str
    ) -> BenchmarkIndex:
        """Convert the splits of a raw dataset, all of them or none.

        Makes `<output>/labels/<split>/<key>.png` (training ids, 8 or 16 bit), for formats with a
        `short_side` also `<output>/images/<split>/<key>.jpg`, and `<output>/index.json`.

        Args:
            raw_root: root of the raw data. If relative, the index refers to images relatively.
            output: folder of the benchmark; what an earlier conversion made is replaced.
            splits: `train` and/or `val` -> what the raw data calls it.
            name: of the benchmark, for the index.

        Raises:
            InputError: the raw data is incomplete, damaged, or out of range; names the files.
        """
        values, classes = self.raw_format.raw_values, self.classes
        if classes.built_in and (largest := max(classes.raw_ids)) >= values:
            raise InputError(
                f"class list '{classes.name}' has the raw id {largest}, but "
                f"{self.raw_format.name} has only 0..{values - 1}"
            )
        raws = {
            split: prepared_split(self.classes, raw_root, own)
            or self.raw_format.list_split(raw_root, own)
            for split, own in splits.items()
        }
        for split, raw in raws.items():
            if not raw.pairs:
                raise InputError(f"the split '{split}' has no labelled image in {raw.image_root}")
        kinds = ["labels", "images"] if self.raw_format.short_side else ["labels"]
        with ExitStack() as stack:
            made = {kind: stack.enter_context(atomic_folder(output / kind)) for kind in kinds}
            converted = {}
            for split, raw in raws.items():
                folders = {kind: made[kind] / split for kind in kinds}
                samples, skipped = self._split(raw, folders, split)
                root = raw.image_root if raw_root.is_absolute() else _way(output, raw.image_root)
                if self.raw_format.short_side:
                    root = Path("images", split)
                converted[split] = Split(root.as_posix(), f"labels/{split}", samples, skipped)
            # An index must never describe label maps that it was not written for.
            (output / "index.json").unlink(missing_ok=True)
            for kind in ("labels", "images"):
                shutil.rmtree(output / kind, ignore_errors=True)
        about = (name, self.raw_format.name, classes.name, classes.names, classes.ignore_label)
        index = BenchmarkIndex(*about, converted)
        index.save(output / "index.json")
        return index

    def _split(
        self, raw: RawSplit, folders: Mapping[str, Path], split: str
    ) -> tuple[list[Sample], dict[str, str]]:
        """The samples, and why others are skipped; all problems are raised in one error."""
        convert = partial(self._converted, raw, folders)
        found = list(outcomes(convert, raw.pairs, self.workers, split))
        if problems := [str(one) for one in found if isinstance(one, InputError)]:
            raise InputError(
                f"{len(problems)} of {len(found)} images of the split '{split}' could not be "
                f"converted:\n{first_of(problems)}"
            )
        samples = [one for one in found if isinstance(one, Sample)]
        skipped = {
            pair.key: "no pixel has a label"
            for pair, one in zip(raw.pairs, found, strict=True)
            if one is None
        }
        skipped |= dict.fromkeys(raw.unlabelled, "no label is published")
        logging.info("%s: %d images, %d skipped", split, len(samples), len(skipped))
        return samples, skipped

    def _converted(
        self, raw: RawSplit, folders: Mapping[str, Path], pair: RawPair
    ) -> Sample | None:
        """Convert one image; None: it has no label."""
        if raw.prepared:
            label = read_prepared(pair.label, self.classes)
        else:
            label = self._training_ids(self.raw_format.decode(pair.label), pair.label)
        height, width = label.shape
        image = raw.image_root / pair.image
        _check_image(image, pair.label, (width, height))
        if self.raw_format.skip_unlabelled and (label == self.classes.ignore_label).all():
            return None
        size = self._size((width, height))
        new_label = folders["labels"] / f"{pair.key}.png"
        new_label.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self._reduced(label, size)).save(new_label)
        named = pair.image
        if "images" in folders:
            named = Path(f"{pair.key}.jpg")
            picture = Image.fromarray(read_image(image))
            image = folders["images"] / named
            image.parent.mkdir(parents=True, exist_ok=True)
            if size != picture.size:
                picture = picture.resize(size, Image.Resampling.BILINEAR)
            picture.save(image, quality=_JPEG_QUALITY)
        return Sample(
            pair.key,
            named.as_posix(),
            f"{pair.key}.png",
            *size,
            label_sha256=file_digest(new_label),
            image_sha256=file_digest(image),
        )

    def _training_ids(self, raw: NDArray[np.integer], path: Path) -> NDArray[np.unsignedinteger]:
        """Label values as training ids.

        A built-in list belongs to a published data set, whose values are known: another one is a
        sign of the wrong file. The values of a list of one's own are its owner's choice.
        """
        if raw.ndim != 2:
            raise InputError(
                f"{path}: expected one value a pixel, got an array of shape {raw.shape}"
            )
        if self.classes.built_in:
            values, void = self.raw_format.raw_values, self.raw_format.void
            outside = raw[(raw < 0) | (raw >= values)]
            strangers = outside if void is None else outside[outside != void]
            if strangers.size:
                also = "" if void is None else f" or {void}"
                raise InputError(
                    f"{path}: label value {strangers.min()} is out of range; "
                    f"{self.raw_format.name} has 0..{values - 1}{also}. Is this the right file?"
                )
        return self.classes.training_ids(raw)

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        short, most = min(size), self.raw_format.short_side
        if most is None or short <= most:
            return size
        return round(size[0] * most / short), round(size[1] * most / short)

    def _reduced(
        self, label: NDArray[np.unsignedinteger], size: tuple[int, int]
    ) -> NDArray[np.unsignedinteger]:
        """A label map of another size, (width, height), by nearest neighbour."""
        height, width = label.shape
        if size == (width, height):
            return label
        if not self.released_label_reduction:
            return np.asarray(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))
        rows, columns = (
            np.floor(np.arange(new) * (1 / (new / old))).astype(int).clip(max=old - 1)
            for new, old in ((size[1], height), (size[0], width))
        )
        reduced: NDArray[np.unsignedinteger] = label[rows[:, None], columns]
        return reduced


def _check_image(image: Path, label: Path, size: tuple[int, int]) -> None:
    """Decode the image to find damage now, not in the middle of training."""
    found, orientation = check_image(image)
    if found == size:
        return
    turned = (
        f". The image has the EXIF orientation {orientation}, which is applied wherever it is "
        "read; turn the label likewise, or save the image upright, without the tag"
    )
    raise InputError(
        f"{image} is {found[0]}x{found[1]} pixels, but its label {label} is {size[0]}x{size[1]}; "
        f"they must agree{turned if orientation != 1 else ''}"
    )


def _way(start: Path, end: Path) -> Path:
    """The relative path between two folders that holds when both are moved or renamed together."""
    by_names = Path(os.path.relpath(end.absolute(), start.absolute()))
    # `..` out of a linked folder leads elsewhere than its name suggests.
    if (start / by_names).resolve() == end.resolve():
        return by_names
    return Path(os.path.relpath(end.resolve(), start.resolve()))
