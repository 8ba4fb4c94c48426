"""The converters on a few real images in the raw layouts, where they are at hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raw_data import converted

from scan_core.vocabulary.classes import load_class_list

REAL = Path(__file__).parents[2] / "shared/real"

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the real images are not at hand")


def run(name, classes, raw, output, split):
    images = converted(name, classes, raw, output, split)
    return {images.stem(number): images.label(number) for number in range(len(images))}


def test_coco_stuff_ids(tmp_path):
    maps = run("coco_stuff", "coco_stuff_171", REAL, tmp_path, "train")
    assert len(maps) == 13
    kept = load_class_list("coco_stuff_171").raw_ids
    for stem, label in maps.items():
        raw = np.asarray(Image.open(REAL / f"coco/stuffthingmaps/train2017/{stem}.png"))
        assert np.array_equal(label >= 0, np.isin(raw, kept))
        assert np.array_equal(np.array(kept)[label[label >= 0]], raw[label >= 0])


@pytest.mark.parametrize("split", ["train", "val"])
def test_ade20k_150(tmp_path, split):
    maps = run("ade20k_150", "ade20k_150", REAL, tmp_path, split)
    folder = {"train": "training", "val": "validation"}[split]
    ((stem, label),) = maps.items()
    raw = np.asarray(Image.open(REAL / f"ADEChallengeData2016/annotations/{folder}/{stem}.png"))
    assert np.array_equal(raw.astype(int) - 1, label)


def test_ade20k_847_names_every_pixel_as_its_annotators_did(tmp_path):
    raw = tmp_path / "raw/ADE20K_2021_17_01"
    raw.mkdir(parents=True)
    (raw / "images").symlink_to(REAL / "ADE20K_2021_17_01/images")
    folder = "ADE20K_2021_17_01/images/ADE/training/urban/street"
    stems = sorted(path.stem for path in (REAL / folder).glob("*.jpg"))
    maps = run("ade20k_847", "ade20k_847", tmp_path / "raw", tmp_path / "out", "train")
    assert sorted(maps) == stems
    classes = load_class_list("ade20k_847")
    for stem, label in maps.items():
        assert min(label.shape) == 512
        record = json.loads((REAL / folder / f"{stem}.json").read_text(encoding="utf-8"))
        objects = record["annotation"]["object"]
        annotated = {item["name_ndx"]: item["name"] for item in objects}
        present = [classes.raw_ids[i] for i in np.unique(label) if i >= 0]
        assert len(present) > 5
        for raw_id in present:
            assert annotated[raw_id] == classes.names[classes.raw_ids.index(raw_id)]
