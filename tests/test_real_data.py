"""The converters on a few real images in the raw layouts, where they are at hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
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
    dropped = [11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90]
    kept = [i for i in range(182) if i not in dropped]
    for stem, label in maps.items():
        with Image.open(REAL / f"coco/stuffthingmaps/train2017/{stem}.png") as file:
            raw = np.asarray(file)
        assert np.array_equal(label == -1, np.isin(raw, [*dropped, 255]))
        assert np.array_equal(np.array(kept)[label[label >= 0]], raw[label >= 0])


@pytest.mark.parametrize("split", ["train", "val"])
def test_ade20k_150(tmp_path, split):
    maps = run("ade20k_150", "ade20k_150", REAL, tmp_path, split)
    folder = {"train": "training", "val": "validation"}[split]
    ((stem, label),) = maps.items()
    with Image.open(REAL / f"ADEChallengeData2016/annotations/{folder}/{stem}.png") as file:
        raw = np.asarray(file)
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


def test_voc_palette_and_grey_are_the_same(tmp_path):
    maps = []
    for folder in ("SegmentationClass", "SegmentationClassAug"):
        root = tmp_path / folder / "VOCdevkit/VOC2012"
        root.mkdir(parents=True)
        for own in ("JPEGImages", "ImageSets"):
            (root / own).symlink_to(REAL / "VOCdevkit/VOC2012" / own)
        (root / folder).symlink_to(REAL / "VOCdevkit/VOC2012" / folder)
        maps.append(run("pascal_voc", "voc_20", tmp_path / folder, tmp_path / f"o{folder}", "val"))
    (palette,), (grey,) = (list(found.values()) for found in maps)
    assert np.array_equal(palette, grey)
    assert len(np.unique(palette)) > 1


def test_context_59_and_459_agree(tmp_path):
    source = REAL / "VOCdevkit/VOC2010/trainval"
    root = tmp_path / "raw/VOCdevkit/VOC2010"
    (root / "ImageSets/Main").mkdir(parents=True)
    (root / "JPEGImages").mkdir()
    (root / "trainval").symlink_to(source)
    stems = sorted(path.stem for path in source.glob("*.mat"))
    (root / "ImageSets/Main/val.txt").write_text("\n".join(stems))
    for stem in stems:  # the photos are not among the real files
        height, width = scipy.io.loadmat(str(source / f"{stem}.mat"))["LabelMap"].shape
        Image.new("RGB", (width, height)).save(root / f"JPEGImages/{stem}.jpg")
    full, part = load_class_list("context_459"), load_class_list("context_59")
    maps_459 = run("pascal_context", "context_459", tmp_path / "raw", tmp_path / "459", "val")
    maps_59 = run("pascal_context", "context_59", tmp_path / "raw", tmp_path / "59", "val")
    to_59 = np.full(len(full) + 1, -1)  # the last for what has no label
    for class_id, raw_id in enumerate(part.raw_ids):
        to_59[full.raw_ids.index(raw_id)] = class_id
    assert len(maps_59) == 12
    for stem, label in maps_459.items():
        assert np.array_equal(to_59[label], maps_59[stem])
        assert (maps_59[stem] >= 0).mean() > 0.3
