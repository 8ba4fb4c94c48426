"""Label maps that others have prepared, where the raw ones are gone.

Users of detectron2 have folders that the scripts of OVSeg, which SCAN's release follows, and of
others made of the raw data: training ids from 0, and 255 or 65535 where there is no label.
They are taken as they are.
"""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scan_core.datasets.pairing import RawSplit, files_by_key, pair
from scan_core.errors import InputError
from scan_core.storage.images import read_label, read_tiff, suffixes
from scan_core.vocabulary.classes import ClassList


class _Folders(NamedTuple):
    """Raw labels, images and prepared labels below the raw root, each the first that is there."""

    raw: tuple[str, ...]
    images: tuple[str, ...]
    prepared: tuple[str, ...]
    ending: str = ".png"


_ADE150, _ADE847 = "ADEChallengeData2016", "ADE20K_2021_17_01"
_VOC, _CONTEXT = "VOCdevkit/VOC2012", "VOCdevkit/VOC2010"
_ADE_SPLITS = {"train": "training", "val": "validation"}
# Class list -> the folders. `{}` stands for the split.
_PREPARED = {
    "coco_stuff_171": _Folders(
        ("coco/stuffthingmaps/{}2017",),
        ("coco/{}2017",),
        ("coco/stuffthingmaps_detectron2/{}2017",),
    ),
    "ade20k_150": _Folders(
        (f"{_ADE150}/annotations/{{}}",),
        (f"{_ADE150}/images/{{}}",),
        (f"{_ADE150}/annotations_detectron2/{{}}",),
    ),
    "ade20k_847": _Folders(
        (f"{_ADE847}/images/ADE",),
        (f"{_ADE847}/images_detectron2/{{}}",),
        (f"{_ADE847}/annotations_detectron2/{{}}",),
        ".tif",
    ),
    "voc_20": _Folders(
        (f"{_VOC}/SegmentationClassAug", f"{_VOC}/SegmentationClass"),
        (f"{_VOC}/JPEGImages", f"{_VOC}/images_detectron2/{{}}"),
        (f"{_VOC}/annotations_detectron2/{{}}", f"{_VOC}/annotations_ovs/{{}}"),
    ),
    **{
        name: _Folders(
            (f"{_CONTEXT}/trainval",),
            (f"{_CONTEXT}/JPEGImages", f"{_CONTEXT}/images"),
            tuple(f"{_CONTEXT}/annotations_detectron2{end}/{folder}_{{}}" for end in ("", "_ovs")),
            ending,
        )
        for name, folder, ending in (
            ("context_59", "pc59", ".png"),
            ("context_459", "pc459", ".tif"),
        )
    },
}


def prepared_split(classes: ClassList, raw_root: Path, split: str) -> RawSplit | None:
    """The images and prepared label maps of a split; None where the raw labels are there.

    Args:
        classes: of the benchmark; prepared ones exist for the paper's lists alone.
        raw_root: root of the raw data.
        split: `train` or `val`.

    Raises:
        InputError: a label map without an image.
    """
    folders = _PREPARED.get(classes.name) if classes.built_in else None
    if folders is None:
        return None
    word = _ADE_SPLITS.get(split, split) if classes.name.startswith("ade20k") else split
    raw, images, prepared = (
        [raw_root / name.format(word) for name in names if (raw_root / name.format(word)).is_dir()]
        for names in folders[:3]
    )
    if raw or not images or not prepared:
        return None
    labels = files_by_key(prepared[0], [folders.ending])
    of_labels = {k: path for k, path in files_by_key(images[0], suffixes()).items() if k in labels}
    logging.warning("%s: the raw labels are not there; taking prepared ones", prepared[0])
    return pair(images[0], of_labels, labels)


def read_prepared(path: Path, classes: ClassList) -> NDArray[np.unsignedinteger]:
    """A prepared label map, with the class list's value for pixels without a label.

    Raises:
        InputError: unreadable, or a value that is no training id.
    """
    values = read_tiff(path) if path.suffix == ".tif" else read_label(path)
    ignored = (values == 255) if values.dtype == np.uint8 else (values == 65535)
    if (strange := values[(values >= len(classes)) & ~ignored]).size:
        raise InputError(
            f"{path}: label value {strange[0]} is no training id of {classes.name}, which has "
            f"0..{len(classes) - 1}; was it prepared for another list of classes?"
        )
    ids: NDArray[np.unsignedinteger] = np.where(ignored, classes.ignore_label, values)
    return ids.astype(classes.label_dtype)
