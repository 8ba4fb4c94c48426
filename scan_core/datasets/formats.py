"""The raw formats, by the name that a recipe gives them: where they lie, and how they are read."""

import logging
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scan_core.datasets.pairing import RawSplit, pair
from scan_core.errors import InputError
from scan_core.storage.images import read_label

ADE_SPLITS = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class RawFormat:
    """One raw layout.

    Attributes:
        name: as `format` in a recipe.
        archives: names of the public archives that it is extracted from.
        list_split: raw root, `train` or `val` -> the split's list. Raises InputError.
        raw_values: number of possible raw values, 0..raw_values-1.
        decode: path of a raw label -> (H, W) array of raw values. Raises InputError.
        void: a further raw value that stands for "no label", or None.
        skip_unlabelled: whether images without one labelled pixel are left out.
        short_side: images with a longer short side are resized to it, or None.
    """

    name: str
    archives: tuple[str, ...]
    list_split: Callable[[Path, str], RawSplit]
    raw_values: int
    decode: Callable[[Path], NDArray[np.integer]] = read_label
    void: int | None = None
    skip_unlabelled: bool = False
    short_side: int | None = None


def _list_coco_stuff(raw_root: Path, split: str) -> RawSplit:
    """The pixel maps decide: captions, too, are read from photos, so some may have no map."""
    folder = f"{split}2017" if split in ("train", "val") else split
    images, labels = raw_root / "coco" / folder, raw_root / "coco/stuffthingmaps" / folder
    paired = pair(images, labels, may_lack_labels=math.inf)
    if paired.unlabelled:
        logging.warning("%d photos of %s have no map", len(paired.unlabelled), images)
    return replace(paired, unlabelled=())


def _list_ade20k_150(raw_root: Path, split: str) -> RawSplit:
    root, folder = raw_root / "ADEChallengeData2016", ADE_SPLITS.get(split, split)
    return pair(root / "images" / folder, root / "annotations" / folder)


def _list_ade20k_847(raw_root: Path, split: str) -> RawSplit:
    """The split of a file is the second word of its name: `ADE_val_00000001.jpg`.

    Names are unique in the release, whatever the scene in whose folder they lie.
    """
    root = raw_root / "ADE20K_2021_17_01/images/ADE"
    return pair(root, root, "_seg.png", ".jpg", named=f"ADE_{split}_*")


def _list_voc(raw_root: Path, split: str) -> RawSplit:
    root = raw_root / "VOCdevkit/VOC2012"
    labels = root / "SegmentationClassAug"
    if not labels.is_dir():
        labels = root / "SegmentationClass"
        logging.warning("SegmentationClassAug is missing: reading labels from %s", labels)
    listed = root / f"ImageSets/Segmentation/{split}.txt"
    return pair(root / "JPEGImages", labels, listed=listed)


def _list_context(raw_root: Path, split: str) -> RawSplit:
    """The official list has one image for which no label was published."""
    root = raw_root / "VOCdevkit/VOC2010"
    images, listed = root / "JPEGImages", root / f"ImageSets/Main/{split}.txt"
    return pair(images, root / "trainval", ".mat", listed=listed, may_lack_labels=1)


def _decode_rgb(path: Path) -> NDArray[np.integer]:
    """Class number (R // 10) · 256 + G of ADE20K's RGB-coded `_seg.png`."""
    pixels = read_label(path)
    if pixels.ndim != 3 or pixels.shape[2] < 3:
        raise InputError(f"{path}: expected an RGB image, got one of shape {pixels.shape}")
    return (pixels[..., 0] // 10).astype(np.int32) * 256 + pixels[..., 1]


def _decode_mat(path: Path) -> NDArray[np.integer]:
    import scipy.io

    try:
        contents = scipy.io.loadmat(str(path), variable_names=["LabelMap"])
    except Exception as error:  # the reader passes on whatever its parser stumbles over
        raise InputError(
            f"{path} is corrupt or truncated ({error}); extract or copy it again"
        ) from None
    label: NDArray[np.integer] | None = contents.get("LabelMap")
    if label is None or label.ndim != 2 or label.dtype.kind not in "ui":
        raise InputError(f"{path}: expected a matrix of integers called LabelMap")
    return label


def folder_format(image_suffix: str | None = None, label_suffix: str = ".png") -> RawFormat:
    """Images and labels in two folders, as people keep their own.

        images/<split>/…    labels/<split>/….png     a folder for each split, or
        images/…            labels/….png             all together, and <split>.txt with the names

    A list has one name a line, with or without suffix; without a list all images are in the split.

    Args:
        image_suffix: what follows an image's name, such as `_leftImg8bit.png`; None: the suffix
            of any image.
        label_suffix: likewise of a label, such as `_gtFine_labelIds.png`.
    """

    def list_split(raw_root: Path, split: str) -> RawSplit:
        roots = raw_root / "images", raw_root / "labels"
        if missing := [str(root) for root in roots if not root.is_dir()]:
            raise InputError(
                f"{' and '.join(missing)}: no such folder; expected images/ and labels/ in "
                f"{raw_root}"
            )
        listed = raw_root / f"{split}.txt"
        inside = any((root / split).is_dir() for root in roots)
        if inside:
            roots = roots[0] / split, roots[1] / split
        lists = None if inside or not listed.is_file() else listed
        return pair(*roots, label_suffix, image_suffix, lists)

    return RawFormat("folder", (), list_split, raw_values=2**16)


FORMATS = {
    raw_format.name: raw_format
    for raw_format in (
        RawFormat(
            "coco_stuff",
            (
                "train2017.zip",
                "val2017.zip",
                "annotations_trainval2017.zip",
                "stuffthingmaps_trainval2017.zip",
            ),
            _list_coco_stuff,
            raw_values=182,
            void=255,
            skip_unlabelled=True,
        ),
        RawFormat("ade20k_150", ("ADEChallengeData2016.zip",), _list_ade20k_150, raw_values=151),
        RawFormat(
            "ade20k_847",
            ("ADE20K_2021_17_01.zip",),
            _list_ade20k_847,
            decode=_decode_rgb,
            raw_values=26 * 256,  # whatever two bytes of the code can hold; others are ignored
            short_side=512,
        ),
        RawFormat(
            "pascal_voc",
            ("VOCtrainval_11-May-2012.tar", "SegmentationClassAug.zip"),
            _list_voc,
            raw_values=21,
            void=255,
            skip_unlabelled=True,
        ),
        RawFormat(
            "pascal_context",
            ("VOCtrainval_03-May-2010.tar", "pascal_context_trainval.tar.gz"),
            _list_context,
            decode=_decode_mat,
            raw_values=460,
        ),
        folder_format(),
    )
}
# Archives that are read only for one split, or only for the captions.
_OF_SPLIT = {"train2017.zip": "train", "annotations_trainval2017.zip": "captions"}


def archives_of(splits: Mapping[str, Collection[str]]) -> list[str]:
    """The archives that splits are read from.

    Args:
        splits: format -> those of `train`, `val` and `captions` that are read.
    """
    return [
        archive
        for name, read in splits.items()
        for archive in FORMATS[name].archives
        if archive not in _OF_SPLIT or _OF_SPLIT[archive] in read
    ]
