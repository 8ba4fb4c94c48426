"""COCO-Stuff: grey pixel maps with 182 ids, of which the class list keeps 171."""

import logging
from pathlib import Path

from scan_core.datasets.raw_format import RawFormat, RawSplit, pair_folders
from scan_core.storage.images import read_label


def _list_split(raw_root: Path, split: str) -> RawSplit:
    """The pixel maps decide: captions, too, are read from photos, so some may have no map."""
    folder = f"{split}2017" if split in ("train", "val") else split
    image_root = raw_root / "coco" / folder
    label_root = raw_root / "coco/stuffthingmaps" / folder
    paired = pair_folders(image_root, label_root, allow_unlabelled=True)
    if paired.unlabelled:
        logging.warning("%d photos of %s have no map", len(paired.unlabelled), image_root)
    return RawSplit(image_root, paired.pairs)


COCO_STUFF = RawFormat(
    name="coco_stuff",
    list_split=_list_split,
    decode=read_label,
    raw_values=182,
    void=255,
    skip_unlabelled=True,
)
