"""Own images with own words: what is written, and one clear message for whatever is wrong."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from project import ROOT
from pycocotools import mask as coco_mask
from small_models import NAMES, SETTINGS, picture_of, tiny_scan

from scan_core.apps import segment
from scan_core.apps.image_files import find_images, segment_files
from scan_core.apps.own_classes import own_classes, parse_classes
from scan_core.apps.own_images import classify
from scan_core.command.command_line import run
from scan_core.errors import InputError
from scan_core.reporting.draw import written


@pytest.fixture(scope="module")
def scan():
    return tiny_scan()


@pytest.fixture(scope="module")
def checkpoint(scan, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    scan.save(path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number, size in enumerate([(90, 120), (120, 80)]):
        Image.fromarray(picture_of(*size, number)).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_the_command_segments_a_folder(checkpoint, photos, tmp_path, caplog):
    """Overlay, label map and JSON say the same; a second run with --resume has nothing to do."""
    command = [
        *(
            sys.executable,
            "-m",
            "scan_core.apps.segment",
            photos,
            "--classes",
            "sea, sand, red ball",
        ),
        *("--checkpoint", checkpoint, "--out", tmp_path, "--device", "auto", "--resume"),
    ]
    ran = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "2 images segmented" in ran.stderr
    assert "100%" in ran.stderr, "a progress bar"
    for number, size in (("0", (90, 120)), ("1", (120, 80))):
        labels = np.array(Image.open(tmp_path / f"{number}_labels.png"))
        record = json.loads((tmp_path / f"{number}.json").read_text())
        assert labels.shape == size == (record["height"], record["width"])
        assert [c["name"] for c in record["classes"]] == ["sea", "sand", "red ball"]
        total = 0
        for found in record["segments"]:
            mask = coco_mask.decode(found["segmentation"]).astype(bool)
            assert np.array_equal(mask, labels == found["category_id"])
            assert found["area"] == mask.sum()
            assert 0 <= found["score"] <= 1
            total += found["area"]
        assert total == labels.size
        overlay = Image.open(tmp_path / f"{number}_overlay.png")
        assert max(overlay.size) >= 640, "large enough to be read"
        assert overlay.height > overlay.width * size[0] / size[1], "with a legend below"
    caplog.set_level("INFO")
    segment.main(segment.parser().parse_args([*map(str, command[3:])]))
    assert "2 of 2 images have their result already" in caplog.text
    caplog.clear()
    command[command.index("sea, sand, red ball")] = "sea, sand"
    segment.main(segment.parser().parse_args([*map(str, command[3:])]))
    assert "have their result already" not in caplog.text, "other classes are another result"


def test_class_names_from_everywhere(tmp_path):
    assert parse_classes("cat, red  ball ,sofa|couch") == [
        ("cat",),
        ("red ball",),
        ("sofa", "couch"),
    ]
    file = tmp_path / "words.txt"
    file.write_text("# animals\ncat\n\nbuilding, edifice\nsofa | couch\n", encoding="utf-8")
    assert parse_classes(f"@{file}") == [("cat",), ("building, edifice",), ("sofa", "couch")]
    assert len(parse_classes("@ade20k_150")) == 150
    classes = own_classes(parse_classes("cat, sofa | couch"), parse_classes("wall, floor, CAT"))
    assert classes.names == ("cat", "sofa", "background")
    assert classes.words == ("cat", "sofa", "couch", "wall", "floor")
    assert classes.owners == (0, 1, 1, 2, 2)
    assert classes.background_id == 2


def _classified(scan, text, background=None, minimum_score=0.0):
    picture = picture_of(90, 120)
    (seen,) = scan.encode([picture], [SETTINGS])
    words = None if background is None else parse_classes(background)
    classes = own_classes(parse_classes(text), words)
    embedded = scan.embed(classes.words)
    return classify(scan, seen, embedded, classes, SETTINGS, (90, 120), minimum_score)


def test_synonyms_are_one_class(scan):
    """A class gets the better of its words, and a word that looks like nothing changes nothing."""
    plain = _classified(scan, "sea, sand, red ball, brick wall, tent")
    expected = scan.segment(picture_of(90, 120), NAMES, SETTINGS)
    assert np.array_equal(plain.class_map, expected.class_map)
    twice = _classified(scan, "sea | Meer, sand, red ball, brick wall, tent")
    assert set(np.unique(twice.class_map)) <= set(range(5))
    share = [(result.class_map == 0).mean() for result in (plain, twice)]
    assert share[1] >= share[0] > 0
    joined = _classified(scan, "sea | sand, red ball, brick wall, tent")
    changed = joined.class_map == 0
    assert changed[np.isin(plain.class_map, (0, 1))].mean() > 0.95


def test_background_is_what_looks_like_other_words_or_like_nothing(scan):
    plain = _classified(scan, "sea, sand, tent")
    worded = _classified(scan, "sea, sand", "tent")
    assert np.array_equal(worded.class_map, plain.class_map)
    level = float(np.median(plain.certainty))
    unsure = _classified(scan, "sea, sand, tent", "", level)
    background = plain.certainty < level
    assert 0.3 < background.mean() < 0.7
    assert (unsure.class_map[background] == 3).all()
    assert np.array_equal(unsure.class_map[~background], plain.class_map[~background])
    assert (_classified(scan, "sea, sand, tent", "", 0.0).class_map < 3).all()


def test_three_thousand_classes_in_bounded_memory(tmp_path):
    """All class scores of the enlarged image at once would take 3 GB."""
    Image.fromarray(picture_of(90, 120)).resize((600, 450)).save(tmp_path / "large.png")
    program = """
import resource, sys
from pathlib import Path
sys.path[:0] = ["tests"]
from test_segment import tiny_scan, segment_files, own_classes
classes = own_classes([(f"thing {number}",) for number in range(3000)])
scan = tiny_scan()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert not segment_files(scan, [Path(sys.argv[1])], classes, Path(sys.argv[2]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    command = [sys.executable, "-c", program, tmp_path / "large.png", tmp_path]
    ran = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) < 600, "MiB"
    labels = np.array(Image.open(tmp_path / "large_labels.png"))
    assert labels.shape == (450, 600)
    assert labels.dtype == np.uint16
    assert labels.max() < 3000


def test_names_in_other_languages_are_segmented_with_a_warning(
    checkpoint, photos, tmp_path, caplog
):
    words = "Straße, 猫, море"
    arguments = [str(photos / "0.png"), "--classes", words, "--out", str(tmp_path)]
    segment.main(segment.parser().parse_args([*arguments, "--checkpoint", str(checkpoint)]))
    assert "its results for 'Straße', '猫', 'море' are guesses" in caplog.text
    record = json.loads((tmp_path / "0.json").read_text(encoding="utf-8"))
    assert [c["name"] for c in record["classes"]] == ["Straße", "猫", "море"]
    assert (tmp_path / "0_overlay.png").is_file()


def test_names_are_written_where_the_font_has_their_letters():
    assert written(["cat, kitten", "море", "\U0010abcd"]) == ["cat", "море", "class 2"]


def test_a_damaged_image_does_not_stop_the_others(scan, photos, tmp_path):
    (tmp_path / "damaged.png").write_bytes((photos / "0.png").read_bytes()[:-3000])
    paths = [tmp_path / "damaged.png", photos / "1.png"]
    (failed,) = segment_files(scan, paths, own_classes([("sea",)]), tmp_path / "out")
    assert "damaged.png is damaged" in str(failed)
    assert (tmp_path / "out/1.json").is_file()
    assert not (tmp_path / "out/damaged.json").exists()


def test_images_are_found(photos, tmp_path):
    both = [photos / "0.png", photos / "1.png"]
    assert find_images([str(photos)]) == both
    assert find_images([str(photos / "1.png"), str(photos / "*.png")]) == both[::-1]
    assert find_images([f"{photos.parent}/**/{photos.name}/*.png"]) == both
    (tmp_path / "0.jpg").write_bytes(b"")
    assert find_images([str(photos), str(tmp_path)]) == [*both, tmp_path / "0.jpg"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image": "nowhere.png"}, "image nowhere.png does not exist"),
        ({"image": "*.tiff"}, r"no image fits \*\.tiff"),
        ({"image": "{empty}"}, "holds no images"),
        ({"image": "{text}"}, "text.png is no image"),
        ({"--classes": " "}, "no class names: expected some"),
        ({"--classes": "sea,,sand"}, "class 2 of 3 has an empty name"),
        ({"--classes": "sea, sand, Sea"}, "class name 'Sea' is given twice"),
        (
            {"--classes": "sea | lake, sand | lake"},
            "'lake' is given twice, for 'sea' and for 'sand'",
        ),
        ({"--classes": "@nowhere.txt"}, "class names nowhere.txt cannot be read: No such file"),
        ({"--classes": "@{text}"}, "text.png: the file has none"),
        ({"--classes": "sea, " + "very " * 90 + "long"}, "too long"),
        (
            {"--classes": "sea, background", "--background": "sky"},
            "'background' is a class already",
        ),
        ({"--checkpoint": "nowhere.safetensors"}, "nowhere.safetensors does not exist"),
        ({"--checkpoint": "{text}"}, "truncated or no safetensors"),
        ({"--recipe": "vitb16"}, "is of another recipe than 'vitb16': its backbone is"),
        ({"--recipe": "vitz"}, "recipe 'vitz' is unknown; params.yaml has mini, vitb16, vitl14"),
        (
            {"--checkpoint": None, "--recipe": "vitl14"},
            "no model yet: results/vitl14/release",
        ),
        ({"--device": "cuda:77"}, "device 'cuda:77' cannot be used"),
        ({"--clip-weight": "1.5"}, "'1.5': expected a number from 0 to 1"),
    ],
)
def test_bad_input_has_one_clear_message(
    checkpoint, photos, tmp_path, monkeypatch, capsys, changes, says
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("\n")
    places = {"empty": tmp_path / "empty", "text": tmp_path / "text.png"}
    given = {
        "image": photos / "0.png",
        "--classes": "sea, sand",
        "--checkpoint": checkpoint,
        "--out": tmp_path / "out",
        **changes,
    }
    image, *options = (
        (key, str(value).format(**places)) for key, value in given.items() if value is not None
    )
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["segment", image[1], *(w for pair in options for w in pair)])
    with pytest.raises(SystemExit) as refusal:
        run(segment.parser(), segment.main)
    message = str(refusal.value.code) + capsys.readouterr().err
    assert re.search(says, message), message
    assert "Traceback" not in message
    assert not list(Path(tmp_path).glob("out/*")), "nothing is written"


def test_settings_of_the_recipe_and_of_the_command_line(scan, checkpoint, monkeypatch):
    from scan_core.apps.chosen_model import chosen_model

    monkeypatch.chdir(ROOT)
    own = chosen_model(checkpoint)
    assert own.settings == scan.settings
    changed = chosen_model(checkpoint, overrides={"clip_weight": 0.1, "mask_threshold": None})
    assert changed.settings.clip_weight == 0.1
    assert changed.settings.mask_threshold == scan.settings.mask_threshold
    assert torch.equal(own.embed(NAMES), scan.embed(NAMES))


def test_a_model_of_the_miniature_world_is_told_from_others(scan, monkeypatch):
    from scan_core.apps.chosen_model import knows_only_drawings
    from scan_core.models.build import architecture_of
    from scan_core.params.reading import read_params, validate

    assert not knows_only_drawings(scan)
    recipes = validate(read_params(ROOT / "params.yaml"), "params.yaml").recipes
    for name, only_drawings in (("mini", True), ("vitb16", False)):
        architecture = architecture_of(recipes[name].segmenter, recipes[name].clip)
        monkeypatch.setitem(scan.header, "architecture", architecture)
        assert knows_only_drawings(scan) == only_drawings


def test_images_that_differ_in_their_suffix_alone_are_both_segmented(scan, tmp_path, caplog):
    """And folders in a folder are left out with a word."""
    (tmp_path / "photos/below").mkdir(parents=True)
    for name in ("one.png", "one.jpg", "two.png"):
        Image.fromarray(picture_of(40, 60)).save(tmp_path / "photos" / name)
    paths = find_images([str(tmp_path / "photos")])
    assert "subfolders are left out (1)" in caplog.text
    classes = own_classes(parse_classes("sky, sea"))
    assert not segment_files(scan, paths, classes, tmp_path / "out")
    made = {path.name for path in (tmp_path / "out").glob("*.json")}
    assert made == {"one.png.json", "one.jpg.json", "two.json"}
    caplog.set_level("INFO")
    segment_files(scan, paths, classes, tmp_path / "out", resume=True)
    assert "3 of 3 images have their result already" in caplog.text
    assert "0 images segmented" in caplog.text


def test_a_misspelt_class_list_is_told_the_nearest():
    with pytest.raises(InputError, match=r"did you mean '@ade20k_150'\? Built in are .*voc_20b"):
        parse_classes("@ade20k_15")
