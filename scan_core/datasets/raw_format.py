"""What a raw format has to say for itself; the engine of `conversion` does the rest."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scan_core.errors import InputError
from scan_core.storage.images import suffixes


@dataclass(frozen=True)
class RawPair:
    """An image and its raw label, as the benchmark lists them.

    Attributes:
        stem: names the converted files, unique within a split.
        image: path relative to the split's image folder.
        label: absolute path of the raw label.
    """

    stem: str
    image: Path
    label: Path


@dataclass(frozen=True)
class RawSplit:
    """The list of a split.

    Attributes:
        image_root: folder that holds the images.
        pairs: what is listed.
        unlabelled: listed stems for which the publisher has no label.
    """

    image_root: Path
    pairs: list[RawPair]
    unlabelled: tuple[str, ...] = ()


@dataclass(frozen=True)
class RawFormat:
    """One raw layout.

    Attributes:
        name: as `format` in a recipe.
        list_split: raw root, `train` or `val` -> the split's list. Raises InputError.
        decode: path of a raw label -> (H, W) array of raw values. Raises InputError.
        raw_values: number of possible raw values, 0..raw_values-1.
        void: a further raw value that stands for "no label", or None.
        skip_unlabelled: whether images without one labelled pixel are left out.
        short_side: images with a longer short side are resized to it, or None.
    """

    name: str
    list_split: Callable[[Path, str], RawSplit]
    decode: Callable[[Path], NDArray[np.integer]]
    raw_values: int
    void: int | None = None
    skip_unlabelled: bool = False
    short_side: int | None = None


def pair_folders(image_root: Path, label_root: Path, allow_unlabelled: bool) -> RawSplit:
    """Pair the images of a folder with the PNG labels of another, by stem, sorted.

    Args:
        image_root: folder of images, of any kind that is read.
        label_root: folder of raw labels.
        allow_unlabelled: leave images without a label out instead of refusing them.

    Raises:
        InputError: a folder is missing, a label has no image, an image no label, or two files
            have the same stem.
    """
    images = files_by_stem(image_root, suffixes())
    labels = files_by_stem(label_root, {".png"})
    if alone := sorted(labels.keys() - images.keys()):
        raise InputError(
            f"{labels[alone[0]]} has no image in {image_root}; complete the raw data or remove it"
        )
    unlabelled = sorted(images.keys() - labels.keys())
    if unlabelled and not allow_unlabelled:
        raise InputError(
            f"{images[unlabelled[0]]} has no label in {label_root}; complete the raw data or "
            "remove it"
        )
    pairs = [RawPair(stem, Path(images[stem].name), labels[stem]) for stem in sorted(labels)]
    return RawSplit(image_root, pairs, tuple(unlabelled))


def pair_listed(stems: Iterable[str], image_root: Path, labels: dict[str, Path]) -> list[RawPair]:
    """Pair the labels of a list with the images of a folder, whatever their kind.

    Args:
        stems: of the list, in its order.
        image_root: folder of images.
        labels: for each of `stems` the path of its raw label.

    Returns:
        one pair a stem; for an image that is not there `<stem>.jpg`, which is reported when its
        turn comes.

    Raises:
        InputError: two images have the same stem.
    """
    images = files_by_stem(image_root, suffixes()) if image_root.is_dir() else {}
    named = ((stem, images.get(stem, Path(f"{stem}.jpg")).name) for stem in stems)
    return [RawPair(stem, Path(name), labels[stem]) for stem, name in named]


def files_by_stem(folder: Path, endings: Iterable[str]) -> dict[str, Path]:
    """The files of a folder with certain endings, in large or small letters, by their stems.

    Hidden files, such as those that macOS puts beside others, are left out.

    Raises:
        InputError: the folder is missing, or two files have the same stem.
    """
    if not folder.is_dir():
        raise InputError(f"folder {folder} is missing; extract or copy the raw data again")
    allowed = set(endings)
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in allowed:
            continue
        if other := found.get(path.stem):
            raise InputError(f"{other} and {path} have the same name; remove or rename one of them")
        found[path.stem] = path
    return found
