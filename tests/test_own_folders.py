"""Images and labels of one's own: any names, any split, and what is said of what does not fit."""

import json

import numpy as np
import pytest
from PIL import Image
from project import ROOT
from ruamel.yaml import YAML

from scan_core.datasets.captions import training_captions
from scan_core.datasets.conversion import convert
from scan_core.datasets.folder import FOLDER
from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.params.needed_files import class_lists
from scan_core.params.reading import validate
from scan_core.training.mining import caption_nouns
from scan_core.vocabulary.classes import load_class_list


def _pair(raw, split, name, values, suffix=".jpg"):
    image, label = (raw / kind / split / name for kind in ("images", "labels"))
    for path in (image, label):
        path.parent.mkdir(parents=True, exist_ok=True)
    values = np.array(values)
    pixels = np.random.default_rng(0).integers(0, 255, (*values.shape, 3), np.uint8)
    Image.fromarray(pixels).save(image.with_name(image.name + suffix))
    kind = np.uint8 if values.max() < 256 else np.uint16
    Image.fromarray(values.astype(kind)).save(label.with_name(label.name + ".png"))


@pytest.fixture
def classes(tmp_path):
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({"names": ["road", "traffic light"], "raw_ids": [7, 300]}))
    return load_class_list(str(path))


def _convert(raw, classes, output, splits):
    convert(FOLDER, classes, raw, output, splits, workers=1, name="own")
    return {split: BenchmarkImages(output / "index.json", split) for split in splits}


def test_folders_for_each_split_with_any_names(tmp_path, classes):
    raw = tmp_path / "raw"
    _pair(raw, "day1", "a.b", [[7, 300], [255, 0]])
    _pair(raw, "day1", "left/c", [[7, 7]], ".PNG")
    _pair(raw, "night", "a.b", [[300]], ".jpeg")
    found = _convert(raw, classes, tmp_path / "own", {"train": "day1", "val": "night"})
    train = found["train"]
    assert [train.stem(number) for number in range(2)] == ["a.b", "left_c"]
    assert train.label(0).tolist() == [[0, 1], [-1, -1]]
    assert train.image(1).shape == (1, 2, 3)
    assert found["val"].label(0).tolist() == [[1]]


def test_lists_within_one_folder(tmp_path, classes):
    raw = tmp_path / "raw"
    for name in ("one", "two", "three"):
        _pair(raw, "", name, [[7]])
    (raw / "train.txt").write_text("two\none.jpg\n\n")
    (raw / "val.txt").write_text("three\n")
    found = _convert(raw, classes, tmp_path / "own", {"train": "train", "val": "val"})
    assert [found["train"].stem(number) for number in range(2)] == ["one", "two"]
    assert len(found["val"]) == 1
    (raw / "val.txt").unlink()
    assert len(_convert(raw, classes, tmp_path / "all", {"val": "val"})["val"]) == 3


def test_what_does_not_belong_together_is_told_at_once(tmp_path, classes):
    raw = tmp_path / "raw"
    with pytest.raises(InputError, match=r"raw/images and .*raw/labels: no such folder"):
        FOLDER.list_split(raw, "val")
    _pair(raw, "val", "right", [[7]])
    (raw / "images/val/alone.jpg").touch()
    (raw / "labels/val/lonely.png").touch()
    with pytest.raises(InputError) as caught:
        FOLDER.list_split(raw, "val")
    assert "alone.jpg has no label in" in str(caught.value)
    assert "lonely.png has no image in" in str(caught.value)
    (raw / "images/val/right.png").touch()
    with pytest.raises(InputError, match="have the same name"):
        FOLDER.list_split(raw, "val")


def test_class_names_stand_in_for_captions(tmp_path, classes):
    raw = tmp_path / "raw"
    _pair(raw, "train", "one", [[300, 7]])
    _pair(raw, "train", "two", [[7, 0]])
    images = _convert(raw, classes, tmp_path / "own", {"train": "train"})["train"]
    captions = training_captions("classes", images)
    nouns = {stem: [caption_nouns(text) for text in texts] for stem, texts in captions.items()}
    assert nouns == {"one": [["road", "traffic light"]], "two": [["road"]]}


def _recipe(**own):
    document = YAML(typ="safe").load(ROOT / "params.yaml")
    datasets = document["recipes"]["mini"]["datasets"]
    datasets["benchmarks"]["own"] = own
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
    ("own", "message"),
    [
        ({"raw": "own/raw"}, "captions' must be given"),
        ({"captions": "classes"}, "'format: folder' needs 'raw'"),
        ({"raw": "own/raw", "split_names": {"train": "day"}, "images": {"val": 3}}, "split_names"),
    ],
)
def test_entries_that_do_not_fit_are_refused(own, message):
    with pytest.raises(InputError, match=message):
        _recipe(**{**OWN, **own})
