"""Label maps that others have prepared, where the raw ones are gone.

Users of detectron2 have folders that the scripts of OVSeg, which SCAN's release follows, and of
others made of the raw data: training ids from 0, and 255 or 65535 where there is no label.
They are taken as they are.
"""

import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scan_core.datasets.formats import ADE_SPLITS
from scan_core.datasets.pairing import RawSplit, pair
from scan_core.errors import InputError
from scan_core.storage.images import read_label, read_tiff
from scan_core.vocabulary.classes import ClassList

# Class list -> root below the raw root, and below that the folders of raw labels, of images and of
# prepared labels, of which the first that is there counts. `{}` stands for the split.
_PREPARED = {
    "coco_stuff_171": ("coco", ["stuffthingmaps/{}2017"], ["{}2017"],
                       ["stuffthingmaps_detectron2/{}2017"]),
    "ade20k_150": ("ADEChallengeData2016", ["annotations/{}"], ["images/{}"],
                   ["annotations_detectron2/{}"]),
    "ade20k_847": ("ADE20K_2021_17_01", ["images/ADE"], ["images_detectron2/{}"],
                   ["annotations_detectron2/{}"]),
    "voc_20": ("VOCdevkit/VOC2012", ["SegmentationClassAug", "SegmentationClass"],
               ["JPEGImages", "images_detectron2/{}"],
               ["annotations_detectron2/{}", "annotations_ovs/{}"]),
    "context_59": ("VOCdevkit/VOC2010", ["trainval"], ["JPEGImages", "images"],
                   ["annotations_detectron2/pc59_{}", "annotations_detectron2_ovs/pc59_{}"]),
    "context_459": ("VOCdevkit/VOC2010", ["trainval"], ["JPEGImages", "images"],
                    ["annotations_detectron2/pc459_{}", "annotations_detectron2_ovs/pc459_{}"]),
}  # fmt: skip


def prepared_split(classes: ClassList, raw_root: Path, split: str) -> RawSplit | None:
    """The images and prepared label maps of a split; None where the raw labels are there.

    Args:
        classes: of the benchmark; prepared ones exist for the paper's lists alone.
        raw_root: root of the raw data.
        split: `train` or `val`.

    Raises:
        InputError: a label map without an image.
    """
    if not classes.built_in or classes.name not in _PREPARED:
        return None
    root, *kinds = _PREPARED[classes.name]
    word = ADE_SPLITS.get(split, split) if classes.name.startswith("ade20k") else split
    raw, images, prepared = (
        [path for name in names if (path := raw_root / root / name.format(word)).is_dir()]
        for names in kinds
    )
    if raw or not images or not prepared:
        return None
    suffix = ".png" if classes.label_dtype == np.uint8 else ".tif"
    logging.warning("%s: the raw labels are not there; taking prepared ones", prepared[0])
    found = pair(images[0], prepared[0], suffix, may_lack_labels=math.inf)
    return replace(found, unlabelled=(), prepared=True)


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
