"""PASCAL VOC 2012 (palette or grey PNGs) and PASCAL Context (`.mat` label maps)."""

import logging
from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray

from scan_core.datasets.raw_format import RawFormat, RawSplit, pair_listed
from scan_core.errors import InputError
from scan_core.storage.images import read_label

# The official list of Context has one image for which no label was published.
_CONTEXT_UNLABELLED = 1


def _list_voc(raw_root: Path, split: str) -> RawSplit:
    root = raw_root / "VOCdevkit/VOC2012"
    labels = root / "SegmentationClassAug"
    if not labels.is_dir():
        labels = root / "SegmentationClass"
        logging.warning("SegmentationClassAug is missing: reading labels from %s", labels)
    stems = _read_list(root / f"ImageSets/Segmentation/{split}.txt")
    images = root / "JPEGImages"
    return RawSplit(images, pair_listed(stems, images, {s: labels / f"{s}.png" for s in stems}))


def _list_context(raw_root: Path, split: str) -> RawSplit:
    root = raw_root / "VOCdevkit/VOC2010"
    labels = {stem: root / f"trainval/{stem}.mat" for stem in
              _read_list(root / f"ImageSets/Main/{split}.txt")}  # fmt: skip
    unlabelled = [stem for stem, label in labels.items() if not label.exists()]
    if len(unlabelled) > _CONTEXT_UNLABELLED:
        raise InputError(
            f"{labels[unlabelled[0]]} and {len(unlabelled) - 1} more labels are missing; extract "
            "the PASCAL Context labels again"
        )
    images = root / "JPEGImages"
    stems = [stem for stem in labels if stem not in unlabelled]
    return RawSplit(images, pair_listed(stems, images, labels), tuple(unlabelled))


def _read_list(path: Path) -> list[str]:
    """Image names of a list file: the first word of each line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        raise InputError(
            f"{path} is missing: it lists the images of the split; extract or copy the raw data "
            "again"
        ) from None
    stems = [line.split()[0] for line in lines if line.strip()]
    if not stems:
        raise InputError(f"{path} lists no image; extract or copy the raw data again")
    if outside := next((stem for stem in stems if "/" in stem or "\\" in stem), None):
        raise InputError(f"{path} lists {outside}, which is a path, not an image name; refused")
    return stems


def _decode_mat(path: Path) -> NDArray[np.integer]:
    try:
        contents = scipy.io.loadmat(str(path), variable_names=["LabelMap"])
    except Exception as error:  # the reader passes on whatever its parser stumbles over
        raise InputError(
            f"{path} is corrupt or truncated ({error}); extract or copy it again"
        ) from None
    label: NDArray[np.integer] | None = contents.get("LabelMap")
    if label is None or label.ndim != 2 or label.dtype.kind not in "ui":
        raise InputError(f"{path}: expected a matrix of whole numbers called LabelMap")
    return label


PASCAL_VOC = RawFormat(
    name="pascal_voc",
    list_split=_list_voc,
    decode=read_label,
    raw_values=21,
    void=255,
    skip_unlabelled=True,
)

PASCAL_CONTEXT = RawFormat(
    name="pascal_context", list_split=_list_context, decode=_decode_mat, raw_values=460
)
