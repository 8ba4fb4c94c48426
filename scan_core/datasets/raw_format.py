"""What a raw format has to say for itself; the engine of `conversion` does the rest."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scan_core.errors import InputError

# What Pillow raises on a damaged file; a damaged header can ask for anything.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


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


def decode_png(path: Path) -> NDArray[np.integer]:
    """Pixel values of a grey or palette PNG, (H, W) uint8; of an RGB PNG, (H, W, 3) uint8.

    Raises:
        InputError: missing, truncated or not an image.
    """
    try:
        with Image.open(path) as image:
            image.verify()  # checks the CRCs, which decoding alone does not
        with Image.open(path) as image:
            return np.asarray(image)
    except DAMAGE as error:
        raise InputError(unreadable(path, error)) from None


def unreadable(path: Path, error: Exception) -> str:
    """The message for a file that cannot be decoded."""
    if isinstance(error, FileNotFoundError):
        return f"{path} is missing; extract or copy the raw data again"
    return f"{path} is corrupt or truncated ({error}); extract or copy it again"


def pair_folders(image_root: Path, label_root: Path, allow_unlabelled: bool) -> RawSplit:
    """Pair the JPEG images of a folder with the PNG labels of another, by stem, sorted.

    Args:
        image_root: folder of images.
        label_root: folder of raw labels.
        allow_unlabelled: leave images without a label out instead of refusing them.

    Raises:
        InputError: a folder is missing, a label has no image, or an image no label.
    """
    images = {path.stem: path for path in _files(image_root, ".jpg")}
    labels = {path.stem: path for path in _files(label_root, ".png")}
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


def _files(folder: Path, suffix: str) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"folder {folder} is missing; extract or copy the raw data again")
    return [path for path in folder.iterdir() if path.suffix == suffix]
