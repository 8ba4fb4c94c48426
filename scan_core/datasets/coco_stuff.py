"""COCO-Stuff: grey pixel maps with 182 ids, of which the class list keeps 171."""

from pathlib import Path

from scan_core.datasets.raw_format import RawFormat, RawSplit, decode_png, pair_folders


def _list_split(raw_root: Path, split: str) -> RawSplit:
    # COCO has photos without a pixel map where only a part of it was copied: the maps decide.
    return pair_folders(
        raw_root / f"coco/{split}2017",
        raw_root / f"coco/stuffthingmaps/{split}2017",
        allow_unlabelled=True,
    )


COCO_STUFF = RawFormat(
    name="coco_stuff",
    list_split=_list_split,
    decode=decode_png,
    raw_values=182,
    void=255,
    skip_unlabelled=True,
)
