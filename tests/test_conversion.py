"""Converters: right labels, files that belong together, and what is said of those that do not."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from documented import shown_files
from PIL import Image
from project import ROOT
from raw_data import ade_file, converted, own_classes, photo, png, stripes, write_ade
from ruamel.yaml import YAML

from scan_core.datasets.captions import load_captions, training_captions
from scan_core.datasets.formats import FORMATS, folder_format
from scan_core.datasets.index import load_index
from scan_core.datasets.verification import verify
from scan_core.errors import InputError
from scan_core.params.needed_files import class_lists
from scan_core.params.reading import validate
from scan_core.params.schema.datasets import Benchmark
from scan_core.training.mining import caption_nouns

VOC = "VOCdevkit/VOC2012"


def keys(images):
    return [images.stem(number) for number in range(len(images))]


# Formats


def test_coco_stuff(tmp_path):
    raw = tmp_path / "raw"
    for stem, values in (("a", (0, 12, 181, 11)), ("b", (255, 255, 90, 11)), ("c", (0, 0, 1, 1))):
        photo(raw / f"coco/train2017/{stem}.jpg")
        png(raw / f"coco/stuffthingmaps/train2017/{stem}.png", stripes(*values))
    photo(raw / "coco/train2017/without_map.jpg")
    images = converted("coco_stuff", "coco_stuff_171", raw, tmp_path / "out", "train")
    assert images.label(0)[0, ::6].tolist() == [0, 11, 170, -1]
    split = load_index(tmp_path / "out/index.json").splits["train"]
    assert keys(images) == ["a", "c"]
    assert set(split.skipped) == {"b"}
    with pytest.raises(InputError, match="'train' lists 3 images, expected 4"):  # maps are missing
        verify(tmp_path / "out/index.json", {"train": 4}, workers=1)


def test_ade20k_150(tmp_path):
    raw = write_ade(tmp_path / "raw")
    images = converted("ade20k_150", "ade20k_150", raw, tmp_path / "out", workers=2)
    assert images.label(3)[0, ::8].tolist() == [-1, 0, 149]
    with pytest.raises(InputError, match="'context_459' has the raw id 459"):
        converted("ade20k_150", "context_459", raw, tmp_path / "out")


@pytest.mark.parametrize("released", [False, True])
def test_ade20k_847_is_reduced(tmp_path, released):
    """By the middle of each step, or as the release's OpenCV does by its first pixel."""
    raw = tmp_path / "raw"
    folder = raw / "ADE20K_2021_17_01/images/ADE/validation/a"
    photo(folder / "ADE_val_1.jpg", 1201, 800)
    photo(folder / "ADE_frame_1.jpg")  # of another split
    columns = np.random.default_rng(0).integers(0, 2, (800, 1201))
    wall = np.array([2978 // 256 * 10, 2978 % 256, 7], np.uint8)
    other = np.array([3 * 10, 200, 0], np.uint8)  # of the release, not among the 847
    png(folder / "ADE_val_1_seg.png", np.where(columns[..., None] == 1, wall, other))
    images = converted(
        "ade20k_847", "ade20k_847", raw, tmp_path / "out", released_label_reduction=released
    )
    assert keys(images) == ["ADE_val_1"]
    assert images.image(0).shape == (512, 769, 3)
    shift = 0 if released else 0.5
    y, x = (
        np.floor((np.arange(n) + shift) * m / n).astype(int) for n, m in ((512, 800), (769, 1201))
    )
    assert np.array_equal(images.label(0) == 0, columns[y[:, None], x] == 1)


def test_voc_with_and_without_background(tmp_path):
    root = tmp_path / f"raw/{VOC}"
    photo(root / "JPEGImages/x.PNG")
    png(root / "SegmentationClassAug/x.png", stripes(0, 1, 20, 255))
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/val.txt").write_text("x\n")
    for classes, background in (("voc_20", -1), ("voc_20b", 20)):
        images = converted("pascal_voc", classes, tmp_path / "raw", tmp_path / classes)
        assert images.label(0)[0, ::6].tolist() == [background, 0, 19, -1]
        assert images.file_name(0) == "x.PNG"


def test_context_of_59_and_459(tmp_path):
    raw = tmp_path / "raw/VOCdevkit/VOC2010"
    (raw / "trainval").mkdir(parents=True)
    label = {"LabelMap": stripes(0, 1, 2, 459)}
    for stem in ("x", "y", "never_labelled"):
        photo(raw / f"JPEGImages/{stem}.jpg")
        scipy.io.savemat(raw / f"trainval/{stem}.mat", label, do_compression=True)
    (raw / "trainval/never_labelled.mat").unlink()
    (raw / "ImageSets/Main").mkdir(parents=True)
    (raw / "ImageSets/Main/val.txt").write_text("x\ny\nnever_labelled\n")
    for classes, expected in (("context_459", [-1, 0, 1, 458]), ("context_59", [-1, -1, 0, -1])):
        images = converted("pascal_context", classes, tmp_path / "raw", tmp_path / classes)
        assert images.label(0)[0, ::6].tolist() == expected
        skipped = load_index(tmp_path / classes / "index.json").splits["val"].skipped
        assert set(skipped) == {"never_labelled"}
    whole = (raw / "trainval/y.mat").read_bytes()
    for damaged in (whole[:150], whole[:-3], b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM"):
        (raw / "trainval/y.mat").write_bytes(damaged)
        with pytest.raises(InputError, match=r"1 of 2 images .*\n.*y\.mat is corrupt"):
            converted("pascal_context", "context_59", tmp_path / "raw", tmp_path / "59")
    (raw / "trainval/y.mat").unlink()
    with pytest.raises(InputError, match=r"y\.jpg has no label"):
        converted("pascal_context", "context_59", tmp_path / "raw", tmp_path / "59")


@pytest.mark.parametrize(
    ("benchmark", "classes", "images", "labels", "suffix"),
    [
        ("coco_stuff", "coco_stuff_171", "coco/val2017",
         "coco/stuffthingmaps_detectron2/val2017", "png"),
        ("ade20k_150", "ade20k_150", "ADEChallengeData2016/images/validation",
         "ADEChallengeData2016/annotations_detectron2/validation", "png"),
        ("ade20k_847", "ade20k_847", "ADE20K_2021_17_01/images_detectron2/validation",
         "ADE20K_2021_17_01/annotations_detectron2/validation", "tif"),
        ("pascal_voc", "voc_20", f"{VOC}/JPEGImages", f"{VOC}/annotations_detectron2/val", "png"),
        ("pascal_voc", "voc_20", f"{VOC}/images_detectron2/val",
         f"{VOC}/annotations_ovs/val", "png"),
        ("pascal_context", "context_59", "VOCdevkit/VOC2010/JPEGImages",
         "VOCdevkit/VOC2010/annotations_detectron2/pc59_val", "png"),
        ("pascal_context", "context_459", "VOCdevkit/VOC2010/images",
         "VOCdevkit/VOC2010/annotations_detectron2_ovs/pc459_val", "tif"),
    ],
)  # fmt: skip
def test_label_maps_that_detectron2s_users_have_prepared_are_taken_as_they_are(
    tmp_path, benchmark, classes, images, labels, suffix
):
    raw = tmp_path / "raw"
    photo(raw / images / "x.jpg")
    photo(raw / images / "without_label.jpg")
    (raw / labels).mkdir(parents=True, exist_ok=True)
    ignored, kind = (255, np.uint8) if suffix == "png" else (65535, np.uint16)
    values = stripes(0, 1, 19, 2).astype(kind)
    values[values == 2] = ignored
    Image.fromarray(values).save(raw / labels / f"x.{suffix}")
    found = converted(benchmark, classes, raw, tmp_path / "out")
    assert keys(found) == ["x"]
    assert found.label(0)[0, ::6].tolist() == [0, 1, 19, -1]
    values[0, 0] = ignored - 1
    Image.fromarray(values).save(raw / labels / f"x.{suffix}")
    with pytest.raises(InputError, match=f"label value {ignored - 1} is no training id"):
        converted(benchmark, classes, raw, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("cityscapes", (7, 26, 0, 33), [0, 13, -1, 18]),  # 0 is unlabelled
        ("bdd100k", (0, 18, 255, 12), [0, 18, -1, 12]),
        ("mapillary", (13, 64, 65, 0), [13, 64, -1, 0]),
    ],
)
def test_benchmarks_of_others(tmp_path, name, values, expected):
    """The entries of the guide: names of files, and values mapped by the class list."""
    guide = shown_files(ROOT / "docs/own_data.md")["datasets.benchmarks"]
    entry = Benchmark.model_validate(YAML(typ="safe").load(guide)[name])
    raw = tmp_path / "raw"
    photo(raw / f"images/val/ulm/ulm_0{entry.image_suffix or '.jpg'}")
    png(raw / f"labels/val/ulm/ulm_0{entry.label_suffix}", stripes(*values))
    if entry.image_suffix:
        png(raw / "labels/val/ulm/ulm_0_gtFine_color.png", stripes(1))
    layout = folder_format(entry.image_suffix, entry.label_suffix)
    images = converted(layout, entry.classes, raw, tmp_path / "out")
    assert keys(images) == ["ulm/ulm_0"]
    assert images.label(0)[0, ::6].tolist() == expected


# What belongs together


def own(raw, split, name, *values, suffix=".jpg"):
    photo(raw / "images" / split / f"{name}{suffix}")
    png(raw / "labels" / split / f"{name}.png", stripes(*values))


def test_a_folder_for_each_split_with_any_names(tmp_path):
    raw, classes = tmp_path / "raw", own_classes(tmp_path, 7, 300)
    own(raw, "day1", "a.b", 7, 300, 255, 0)
    own(raw, "day1", "left/c", 7, suffix=".PNG")
    own(raw, "day1", "right/c", 300, suffix=".jpeg")
    images = converted("folder", classes, raw, tmp_path / "out", "train", own="day1")
    assert keys(images) == ["a.b", "left/c", "right/c"]
    assert images.label(0)[0, ::6].tolist() == [0, 1, -1, -1]
    assert images.file_name(1) == "left/c.PNG"
    assert images.label(2).max() == images.label(2).min() == 1


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    raw, classes = tmp_path / "raw", own_classes(tmp_path, 1)
    own(raw, "val", "here/one", 1)
    own(tmp_path / "disk", "", "two", 1)
    for kind in ("images", "labels"):
        (raw / kind / "val/there").symlink_to(tmp_path / "disk" / kind)
        (raw / kind / "val/here/circle").symlink_to(raw / kind / "val")
        (tmp_path / "disk" / kind / "back").symlink_to(raw / kind / "val")
        (raw / kind / "val/itself").symlink_to("itself")
    images = converted("folder", classes, raw, tmp_path / "out")
    assert keys(images) == ["here/one", "there/two"]


def test_listed_names_are_taken_exactly_and_only_images_suffixes_are_cut(tmp_path):
    raw, classes = tmp_path / "raw", own_classes(tmp_path, 7)
    for name in ("London_2004.01.12_a", "two", "three.jpg", "one two"):
        own(raw, "", name, 7)
    (raw / "val.txt").write_text("\ufefftwo.jpg\nLondon_2004.01.12_a\n\nthree.jpg\none two\n")
    images = converted("folder", classes, raw, tmp_path / "out")
    assert keys(images) == ["two", "London_2004.01.12_a", "three.jpg", "one two"]
    (raw / "val.txt").write_text("two\nLondon_2004.01.12_a.png\ntwo.jpg\nfour\n../x\n")
    with pytest.raises(InputError) as caught:
        FORMATS["folder"].list_split(raw, "val")
    for words in ("lists two 2 times", "names four, which has neither", "names ../x, which has"):
        assert words in str(caught.value)
    (raw / "val.txt").unlink()
    assert len(converted("folder", classes, raw, tmp_path / "all")) == 4


def test_files_that_are_alone_or_double_are_told_at_once(tmp_path):
    raw = tmp_path / "raw"
    with pytest.raises(InputError, match=r"raw/images and .*raw/labels: no such folder"):
        FORMATS["folder"].list_split(raw, "val")
    own(raw, "val", "right", 7)
    (raw / "images/val/._right.jpg").write_bytes(b"what macOS leaves")
    (raw / "images/val/alone.jpg").touch()
    (raw / "labels/val/lonely.png").touch()
    with pytest.raises(InputError, match=r"(?s)lonely\.png has no image in.*alone\.jpg has no lab"):
        FORMATS["folder"].list_split(raw, "val")
    (raw / "images/val/right.bmp").touch()
    with pytest.raises(InputError, match=r"right\.bmp and .*right\.jpg have the same name"):
        FORMATS["folder"].list_split(raw, "val")
    (raw / "images/val" / os.fsdecode(b"latin-\xe9.jpg")).touch()
    (raw / "images/val/right.bmp").unlink()
    with pytest.raises(InputError, match="the file's name is not UTF-8"):
        FORMATS["folder"].list_split(raw, "val")


def test_captions_belong_to_the_image_of_their_whole_path(tmp_path):
    raw, path = tmp_path / "raw", tmp_path / "captions.json"
    own(raw, "train", "seqA/0", 7, 300)
    own(raw, "train", "seqB/0", 300, 0)
    classes = own_classes(tmp_path, 7, 300)
    images = converted("folder", classes, raw, tmp_path / "out", "train")

    def told(*names):
        listed = [{"id": name, "file_name": name} for name in names]
        captions = [{"image_id": name, "caption": f" of {name}"} for name in names]
        path.write_text(json.dumps({"images": listed, "annotations": captions}))
        return load_captions(path, keys(images))

    of_both = {"seqA/0": ["of seqA/0.jpg"], "seqB/0": ["of seqB/0.png"]}
    assert told("seqA/0.jpg", "seqB/0.png", "seqC/0.jpg") == of_both
    with pytest.raises(InputError, match=r"none of the 2 training images: the images are seqA/0"):
        told("0.jpg")
    nouns = {
        key: [caption_nouns(text) for text in texts]
        for key, texts in training_captions("classes", images).items()
    }
    assert nouns == {"seqA/0": [["road", "traffic light"]], "seqB/0": [["traffic light"]]}


# Bad files


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda raw: ade_file(raw, 2, "label").unlink(), "has no label"),
        (lambda raw: ade_file(raw, 2, "image").unlink(), "has no image in"),
        (lambda raw: photo(ade_file(raw, 2, "image"), 25, 16), "is 25x16 pixels, but its label"),
        (lambda raw: png(ade_file(raw, 2, "label"), stripes(0, 151)), "label value 151 is out of"),
        (lambda raw: _truncate(ade_file(raw, 2, "image")), r"jpg"),
        (lambda raw: _truncate(ade_file(raw, 2, "label")), r"png"),
        (lambda raw: ade_file(raw, 2, "label").write_text("<html>"), r"png"),
        (lambda raw: png(ade_file(raw, 2, "label"), np.zeros((16, 24, 3), np.uint8)), "one value"),
    ],
)
def test_a_bad_file_is_named_and_nothing_is_made_of_the_others(tmp_path, damage, words):
    raw, output = write_ade(tmp_path / "raw"), tmp_path / "out"
    damage(raw)
    with pytest.raises(InputError, match=words) as caught:
        converted("ade20k_150", "ade20k_150", raw, output)
    assert "ADE_val_00000002" in str(caught.value)
    assert not output.exists() or not list(output.iterdir())


def test_what_is_not_the_file_that_was_converted_is_told_when_it_is_read(tmp_path):
    raw, output = write_ade(tmp_path / "raw"), tmp_path / "out"
    images = converted("ade20k_150", "ade20k_150", raw, output)
    label = output / "labels/val/ADE_val_00000001.png"
    flipped = bytearray(label.read_bytes())
    flipped[-20] ^= 1
    label.write_bytes(flipped)
    Image.new("RGB", (24, 16)).save(ade_file(raw, 1, "image"))
    for read_one in (images.image, images.label):
        with pytest.raises(InputError, match=r"is not the file that .*folder to convert it again"):
            read_one(0)
    label.unlink()
    with pytest.raises(InputError, match=r"does not exist.*folder to convert it again"):
        images.label(0)
    assert converted("ade20k_150", "ade20k_150", raw, output).label(0).max() == 149


# Verification and index


def test_verification_counts_and_finds_what_changed_afterwards(tmp_path):
    raw, output = write_ade(tmp_path / "raw"), tmp_path / "out"
    converted("ade20k_150", "ade20k_150", raw, output)
    counted = verify(output / "index.json", {"val": 4}, workers=2)["splits"]["val"]
    assert counted["images"] == 4
    assert counted["pixels"]["wall"] == counted["pixels"]["flag"] == 4 * 16 * 8
    assert len(counted["absent"]) == 148
    label = output / "labels/val/ADE_val_00000003.png"
    good = label.read_bytes()
    for change, expected, words in (
        (lambda: None, {"val": 5}, "lists 4 images, expected 5"),
        (lambda: None, {"train": 4}, "split 'train' is missing"),
        (lambda: png(label, stripes(3, 200)), {}, "value 200 is no class"),
        (lambda: png(label, stripes(3, 3)[:8]), {}, "is 24x8 and"),
        (lambda: png(label, stripes(300)), {}, "holds uint16, expected values up to 255"),
        (label.unlink, {}, r"ADE_val_00000003\.png"),
        (lambda: ade_file(raw, 3, "image").write_text("<html>"), {}, r"ADE_val_00000003\.jpg"),
    ):
        change()
        with pytest.raises(InputError, match=words):
            verify(output / "index.json", expected, workers=1)
        label.write_bytes(good)


@pytest.mark.parametrize("values", [(9, 9), (9, 1)])
def test_a_benchmark_without_labels_does_not_pass_verification(tmp_path, values):
    pixels = np.full((160, 240), values[0], np.uint8)
    pixels[0, :8] = values[1]  # a thousandth of a fifth
    photo(tmp_path / "raw/images/val/one.jpg", 240, 160)
    png(tmp_path / "raw/labels/val/one.png", pixels)
    converted("folder", own_classes(tmp_path, 1, 2), tmp_path / "raw", tmp_path / "out")
    path = tmp_path / "out/index.json"
    with pytest.raises(InputError, match=r"split 'val': 0\.0\d+% of the pixels have a label"):
        verify(path, {}, workers=1)
    index = load_index(path)
    replace(index, splits={"val": replace(index.splits["val"], samples=())}).save(path)
    with pytest.raises(InputError, match="split 'val' has no image"):
        verify(path, {}, workers=1)


# Entries of one's own in params.yaml


def _recipe(**entry):
    document = YAML(typ="safe").load(ROOT / "params.yaml")
    datasets = document["recipes"]["mini"]["datasets"]
    datasets["benchmarks"]["own"] = entry
    datasets["train"] = "own"
    return validate(document).recipes["mini"]


OWN = {"format": "folder", "classes": "mini_voc_10", "images": {"train": None, "val": None}}


def test_everything_that_is_missing_is_told_in_one_message(tmp_path):
    recipe = _recipe(
        **{**OWN, "classes": "of_mine"}, raw=f"{tmp_path}/raw", captions=f"{tmp_path}/said.json"
    )
    with pytest.raises(InputError) as caught:
        class_lists(recipe)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"datasets.benchmarks.own.raw: {tmp_path}/raw/images is missing")
    assert lines[1].startswith(f"datasets.benchmarks.own.captions: {tmp_path}/said.json is missing")
    assert "Without captions write 'classes'" in lines[1]
    assert lines[2].startswith("datasets.benchmarks.own.classes: class list 'of_mine' is unknown")
    (tmp_path / "raw/images").mkdir(parents=True)
    there = _recipe(**OWN, raw=f"{tmp_path}/raw", captions="classes")
    assert len(class_lists(there)["own"]) == 10


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"raw": "own/raw"}, "captions' must be given"),
        ({"captions": "classes"}, "'format: folder' needs 'raw'"),
        ({"raw": "own/raw", "split_names": {"train": "day"}, "images": {"val": 3}}, "split_names"),
    ],
)
def test_entries_that_do_not_fit_are_refused(entry, message):
    with pytest.raises(InputError, match=message):
        _recipe(**{**OWN, **entry})
