"""Segmenting own images in own words: what is written, and one message for whatever is wrong."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from project import ROOT
from pycocotools import mask as coco_mask
from small_models import NAMES, SETTINGS, picture_of

from scan_core.apps.class_names import class_names, parse_names
from scan_core.apps.model import ModelOptions, classify
from scan_core.apps.segment import find_images, segment, segment_files
from scan_core.errors import InputError
from scan_core.models.build import architecture_of
from scan_core.params.command_line import run
from scan_core.params.reading import read_params, validate
from scan_core.reporting.draw import written

CLASSES = class_names("sea, sand")
PARTS = ("_overlay.png", "_labels.png", ".json")


@pytest.fixture(scope="module")
def checkpoint(scan, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    scan.save(path)
    return path


def save(path, seed=0, size=(40, 50), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture_of(*size, seed)).save(path, **options)
    return path


def results_in(folder):
    return {path.name for path in folder.iterdir()} - {"_run.json"}


def test_overlay_label_map_and_json_say_the_same(checkpoint, tmp_path, caplog):
    sizes = {"0": (90, 120), "1": (120, 80)}
    for name, size in sizes.items():
        save(tmp_path / "photos" / f"{name}.png", int(name), size)
    (tmp_path / "photos/notes.txt").write_text("no image")
    out = tmp_path / "out"
    segment((str(tmp_path / "photos"),), "sea, sand, 猫", out, model=ModelOptions(checkpoint))
    assert "its results for '猫' are guesses" in caplog.text
    for name, size in sizes.items():
        labels = np.array(Image.open(out / f"{name}_labels.png"))
        record = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
        assert labels.shape == size == (record["height"], record["width"])
        assert [c["name"] for c in record["classes"]] == ["sea", "sand", "猫"]
        total = 0
        for found in record["segments"]:
            mask = coco_mask.decode(found["segmentation"]).astype(bool)
            assert np.array_equal(mask, labels == found["category_id"])
            assert found["area"] == mask.sum()
            assert 0 <= found["score"] <= 1
            total += found["area"]
        assert total == labels.size
        overlay = Image.open(out / f"{name}_overlay.png")
        assert overlay.height > overlay.width * size[0] / size[1], "with a legend below"


def test_class_names_from_everywhere(tmp_path):
    assert parse_names("cat, red  ball ,sofa|couch") == [("cat",), ("red ball",), ("sofa", "couch")]
    file = tmp_path / "words.txt"
    file.write_text("\ufeff# animals\ncat\n\nbuilding, edifice\nsofa | couch\n", encoding="utf-8")
    assert parse_names(f"@{file}") == [("cat",), ("building, edifice",), ("sofa", "couch")]
    assert len(parse_names("@ade20k_150")) == 150
    with pytest.raises(InputError, match=r"did you mean '@ade20k_150'\? Built in are .*voc_20b"):
        parse_names("@ade20k_15")
    for words in (("cat, \ud800",), ("cat", "dog, \udcff")):  # the latter from a command line
        with pytest.raises(InputError, match="no valid Unicode"):
            class_names(*words)
    classes = class_names("cat, sofa | couch", "wall, floor, CAT")
    assert classes.names == ("cat", "sofa", "background")
    assert classes.words == ("cat", "sofa", "couch", "wall", "floor")
    assert classes.owners == (0, 1, 1, 2, 2)
    assert classes.background_id == 2


def _classified(scan, text, background=None, minimum_score=0.0):
    (views,) = scan.encode([picture_of(90, 120)], [SETTINGS])
    classes = class_names(text, background)
    embedded = scan.embed(classes.words)
    return classify(scan, views, embedded, classes, SETTINGS, (90, 120), minimum_score)


def test_synonyms_are_one_class(scan):
    """A class gets the better of its words, and a word that looks like nothing changes nothing."""
    plain = _classified(scan, "sea, sand, red ball, brick wall, tent")
    expected = scan.segment(picture_of(90, 120), NAMES, SETTINGS)
    assert np.array_equal(plain.class_map, expected.class_map)
    twice = _classified(scan, "sea | Meer, sand, red ball, brick wall, tent")
    share = [(result.class_map == 0).mean() for result in (plain, twice)]
    assert share[1] >= share[0] > 0
    joined = _classified(scan, "sea | sand, red ball, brick wall, tent")
    assert (joined.class_map == 0)[np.isin(plain.class_map, (0, 1))].mean() > 0.95


def test_background_is_what_looks_like_other_words_or_like_nothing(scan):
    plain = _classified(scan, "sea, sand, tent")
    worded = _classified(scan, "sea, sand", "tent")
    assert np.array_equal(worded.class_map, plain.class_map)
    level = float(np.median(plain.score_map))
    unsure = _classified(scan, "sea, sand, tent", "", level)
    background = plain.score_map < level
    assert 0.3 < background.mean() < 0.7
    assert (unsure.class_map[background] == 3).all()
    assert np.array_equal(unsure.class_map[~background], plain.class_map[~background])


@pytest.mark.slow
def test_three_thousand_classes_in_bounded_memory(tmp_path):
    """All class scores of the enlarged image at once would take 3 GB."""
    Image.fromarray(picture_of(90, 120)).resize((600, 450)).save(tmp_path / "large.png")
    program = """
import resource, sys
from pathlib import Path
sys.path[:0] = ["tests"]
from small_models import tiny_scan
from test_segment import segment_files, class_names
classes = class_names(",".join(f"thing {number}" for number in range(3000)))
scan = tiny_scan()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert not segment_files(scan, [Path(sys.argv[1])], classes, Path(sys.argv[2]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    command = [sys.executable, "-c", program, tmp_path / "large.png", tmp_path / "out"]
    ran = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) < 600, "MiB"
    labels = np.array(Image.open(tmp_path / "out/large_labels.png"))
    assert labels.shape == (450, 600)
    assert labels.dtype == np.uint16
    assert labels.max() < 3000


def test_nothing_is_overwritten_unless_told(scan, tmp_path, caplog):
    """A second call continues what was made with the same model, settings and classes."""
    caplog.set_level("INFO")
    paths = [save(tmp_path / "in" / name, n) for n, name in enumerate(("a.png", "b.png"))]
    out = tmp_path / "out"
    assert not segment_files(scan, paths, CLASSES, out)
    with pytest.raises(InputError, match="out is not empty: choose another --out, or continue"):
        segment_files(scan, paths, CLASSES, out)
    (out / "a_labels.png").unlink()
    assert not segment_files(scan, paths, CLASSES, out, resume=True)
    assert "1 of 2 images have their result already" in caplog.text
    assert (out / "a_labels.png").is_file()
    os.utime(save(paths[1], 5), ns=(2**62, 2**62))
    before = (out / "b.json").read_text()
    assert not segment_files(scan, paths, CLASSES, out, resume=True)
    assert (out / "b.json").read_text() != before, "the image is newer"
    others = class_names("sea, sand, tent")
    with pytest.raises(InputError, match="no results of the same model, settings and classes"):
        segment_files(scan, paths, others, out, resume=True)
    assert not segment_files(scan, paths, others, out, overwrite=True)
    assert len(json.loads((out / "a.json").read_text())["classes"]) == 3
    with pytest.raises(InputError, match="is not empty"):
        segment_files(scan, paths, CLASSES, tmp_path / "in")


def test_images_are_found_and_two_names_are_two_images(scan, tmp_path, caplog):
    folder = tmp_path / "in"
    for name in ("1.png", "001.png", "one.png", "one.jpg", "one.png.jpg"):
        save(folder / name)
    save(folder / "below/1.png")
    found = find_images([str(folder)])
    assert [path.name for path in found] == [
        "001.png",
        "1.png",
        "one.jpg",
        "one.png",
        "one.png.jpg",
    ]
    assert "subfolders are left out (1)" in caplog.text
    assert find_images([str(folder / "one.png"), str(folder / "*.png")])[0].name == "one.png"
    assert len(find_images([f"{tmp_path}/**/one.*"])) == 3
    with pytest.raises(InputError, match="have the same name"):
        find_images([str(folder), str(folder / "below")])
    assert not segment_files(scan, found, CLASSES, tmp_path / "out")
    stems = ("001", "1", "one.jpg", "one.png", "one.png.jpg")
    assert results_in(tmp_path / "out") == {f"{stem}{part}" for stem in stems for part in PARTS}
    records = [json.loads((tmp_path / f"out/{stem}.json").read_text()) for stem in stems]
    assert [record["segments"][0]["image_id"] for record in records] == list(stems)


def _broken_exif(path):
    """An orientation, and beside it a number where text belongs."""
    entries = b"\0\2\1\x12\0\3\0\0\0\1\0\6\0\0\1\x3c\0\5\0\0\0\1\0\0\0\x26\0\0\0\0"
    save(path, quality=90, exif=b"Exif\0\0MM\0*\0\0\0\x08" + entries + b"\0\0\0\3\0\0\0\2")


BAD = {
    "bomb.png": lambda path: Image.new("1", (20_000, 20_000)).save(path),
    "exif.jpg": _broken_exif,
    "phone.heic": lambda path: path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
    "camera.CR2": lambda path: path.write_bytes(b"II*\0\x10\0\0\0CR\x02\0"),
    "cut.png": lambda path: path.write_bytes(save(path).read_bytes()[:-900]),
    "empty.webp": lambda path: path.write_bytes(b""),
    f"{'long' * 61}.png": save,
    os.fsdecode(b"latin-\xe9.png"): save,
}


def test_one_bad_image_does_not_stop_a_batch(checkpoint, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    save(folder / "good.png")
    save(folder / "z_good.jpg", 3)
    for name, make in BAD.items():
        make(folder / name)
    command = [sys.executable, "-m", "scan_core.apps.segment", folder, "--classes", "sea, море"]
    command += ["--checkpoint", checkpoint, "--out", out]
    environment = {**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    ran = subprocess.run(
        [*map(str, command)], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr, ran.stderr
    assert f"{len(BAD)} of {len(BAD) + 2} images were left out" in ran.stderr
    for name in BAD:
        assert name.encode(errors="backslashreplace").decode() in ran.stderr
    assert results_in(out) == {f"{stem}{part}" for stem in ("good", "z_good") for part in PARTS}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image": "nowhere.png"}, "image nowhere.png does not exist"),
        ({"image": "{empty}"}, "holds no images"),
        ({"image": "{text}"}, "text.png is no image"),
        ({"--classes": " "}, "no class names: expected some"),
        ({"--classes": "sea,,sand"}, "class 2 of 3 has an empty name"),
        ({"--classes": "sea, sand, Sea"}, "class name 'Sea' is given twice"),
        ({"--classes": "@nowhere.txt"}, "nowhere.txt cannot be read .No such file"),
        ({"--classes": "a, background", "--background": "b"}, "'background' is a class already"),
        ({"--checkpoint": "gone.safetensors"}, "gone.safetensors cannot be read .No such file"),
        ({"--recipe": "vitb16"}, "is of another recipe than 'vitb16': its backbone is"),
        ({"--checkpoint": None, "--recipe": "vitl14"}, "no model yet: results/vitl14/release"),
        ({"--device": "cuda:77"}, "device 'cuda:77' cannot be used"),
        ({"--clip-weight": "1.5"}, "clip_weight 1.5: expected a number from 0 to 1"),
    ],
)
def test_bad_input_has_one_clear_message(checkpoint, tmp_path, monkeypatch, changes, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("\n")
    places = {"empty": tmp_path / "empty", "text": tmp_path / "text.png"}
    given = {"image": save(tmp_path / "0.png"), "--classes": "sea, sand"}
    given |= {"--checkpoint": checkpoint, "--out": tmp_path / "out", **changes}
    image, *options = (
        (key, str(value).format(**places)) for key, value in given.items() if value is not None
    )
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["segment", image[1], *(w for pair in options for w in pair)])
    with pytest.raises(SystemExit) as refusal:
        run(segment)
    message = str(refusal.value.code)
    assert re.search(says, message), message
    assert not list(tmp_path.glob("out/*.png")), "nothing is written"


def test_settings_of_the_checkpoint_and_of_the_command_line(scan, checkpoint):
    assert ModelOptions(checkpoint, device="cpu").open().settings == scan.settings
    changed = ModelOptions(checkpoint, device="cpu", clip_weight=0.1, mask_threshold=0.8).open()
    assert changed.settings.clip_weight == 0.1
    assert changed.settings.crop_threshold == 0.8, "crops follow the mask threshold"
    assert changed.settings.replace_ratio == scan.settings.replace_ratio


def test_a_model_of_the_miniature_world_is_told_from_others(scan, monkeypatch):
    assert scan.warning is None
    recipes = validate(read_params(ROOT / "params.yaml"), "params.yaml").recipes
    for name, only_drawings in (("mini", True), ("vitb16", False)):
        architecture = architecture_of(recipes[name].segmenter, recipes[name].clip)
        monkeypatch.setitem(scan.header, "architecture", architecture)
        assert bool(scan.warning) == only_drawings


def test_names_are_written_where_the_font_has_their_letters():
    assert written(["cat, kitten", "море", "\U0010abcd"]) == ["cat", "море", "class 2"]
