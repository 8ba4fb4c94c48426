"""ADE20K: the scene-parsing challenge (150 classes) and the full 2021_17_01 release (847)."""

import logging
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scan_core.datasets.raw_format import RawFormat, RawPair, RawSplit, pair_folders
from scan_core.errors import InputError
from scan_core.storage.images import read_label
from scan_core.storage.safe_pickle import load_plain_pickle

_FOLDERS = {"train": "training", "val": "validation"}
_RELEASE = "ADE20K_2021_17_01"


def _list_challenge(raw_root: Path, split: str) -> RawSplit:
    root = raw_root / "ADEChallengeData2016"
    return pair_folders(
        root / "images" / _FOLDERS.get(split, split),
        root / "annotations" / _FOLDERS.get(split, split),
        allow_unlabelled=False,
    )


def _list_full(raw_root: Path, split: str) -> RawSplit:
    """The split of a file is the second word of its name: `ADE_val_00000001.jpg`."""
    index = raw_root / _RELEASE / "index_ade20k.pkl"
    if index.exists():
        listed = _read_index(index)
    else:
        logging.warning("%s is missing: listing the folder of images instead", index)
        folder = raw_root / _RELEASE / "images/ADE"
        listed = sorted(
            PurePosixPath(path.relative_to(raw_root)) for path in folder.rglob("ADE_*.jpg")
        )
    own = [path for path in listed if path.stem.split("_")[1:2] == [split]]
    if not own:
        raise InputError(f"{raw_root / _RELEASE} lists no image of the split '{split}'")
    pairs = [
        RawPair(path.stem, Path(path), raw_root / path.with_name(f"{path.stem}_seg.png"))
        for path in own
    ]
    return RawSplit(raw_root, pairs)


def _read_index(index: Path) -> list[PurePosixPath]:
    """Image paths relative to the raw root, as the release's index lists them."""
    contents: Any = load_plain_pickle(index)
    try:
        paths = [
            PurePosixPath(str(folder)) / str(name)
            for folder, name in zip(contents["folder"], contents["filename"], strict=True)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{index} is not the index of {_RELEASE}: expected lists 'folder' and 'filename' of "
            f"one length ({error}); extract the archive again"
        ) from None
    for path in paths:
        if path.is_absolute() or ".." in path.parts:
            raise InputError(f"{index} names {path}, which lies outside the raw data; refused")
    return paths


def _decode_segmentation(path: Path) -> NDArray[np.integer]:
    """Class number (R // 10) · 256 + G of an RGB-coded `_seg.png`."""
    pixels = read_label(path)
    if pixels.ndim != 3 or pixels.shape[2] < 3:
        raise InputError(f"{path}: expected an RGB image, got one of shape {pixels.shape}")
    return (pixels[..., 0] // 10).astype(np.int32) * 256 + pixels[..., 1]


ADE20K_150 = RawFormat(
    name="ade20k_150", list_split=_list_challenge, decode=read_label, raw_values=151
)

ADE20K_847 = RawFormat(
    name="ade20k_847",
    list_split=_list_full,
    decode=_decode_segmentation,
    raw_values=26 * 256,  # whatever two bytes of the code can hold; other classes are ignored
    short_side=512,
)
