"""Segmenting folders: nothing of other people is overwritten, and one bad image is one message."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from project import ROOT
from small_models import picture_of, tiny_scan

from scan_core.apps.image_files import find_images, segment_files
from scan_core.apps.own_classes import own_classes, parse_classes
from scan_core.evaluation.coco_results import image_ids

CLASSES = own_classes(parse_classes("sea, sand"))


@pytest.fixture(scope="module")
def scan():
    return tiny_scan()


def save(path, seed=0, size=(40, 50), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture_of(*size, seed)).save(path, **options)
    return path


def segment(scan, *sources, out, resume=False):
    return segment_files(scan, find_images([*map(str, sources)]), CLASSES, out, resume=resume)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_resume_knows_an_image_by_its_content(scan, tmp_path, caplog):
    caplog.set_level("INFO")
    first, second, out = tmp_path / "a", tmp_path / "b", tmp_path / "out"
    save(first / "x.png", 1)
    save(second / "x.png", 2)
    assert not segment(scan, first, out=out)
    assert not segment(scan, second, out=out, resume=True)
    assert "have their result already" not in caplog.text
    assert json.loads((out / "x.json").read_text())["image"] == str(second / "x.png")
    (second / "x.png").rename(tmp_path / "x.png")
    assert not segment(scan, tmp_path / "x.png", out=out, resume=True)
    assert "1 of 1 images have their result already" in caplog.text
    caplog.clear()
    (out / "x_labels.png").unlink()
    assert not segment(scan, tmp_path / "x.png", out=out, resume=True)
    assert (out / "x_labels.png").is_file(), "a result of which a part is missing is made again"


def test_only_what_this_command_wrote_is_overwritten(scan, tmp_path):
    """Into the folder of the images themselves, where names like those of results lie already."""
    save(tmp_path / "a.png", 1)
    save(tmp_path / "a_overlay.png", 2)
    save(tmp_path / "b.png", 3)
    (tmp_path / "b.json").write_text('{"segments": "of another tool"}')
    save(tmp_path / "c.png", 4)
    before = contents(tmp_path)
    failed = segment(scan, tmp_path, out=tmp_path)
    assert sorted("a_overlay.png" in str(e) or "b.json" in str(e) for e in failed) == [True, True]
    after = contents(tmp_path)
    assert before.items() <= after.items(), "what was there is as it was"
    made = {"_overlay.png", "_labels.png", ".json"}
    assert after.keys() - before.keys() == {f"{s}{m}" for s in ("c", "a_overlay") for m in made}
    assert len(segment(scan, tmp_path, out=tmp_path)) == 2
    assert contents(tmp_path) == after, "a second run takes no result for an image"


def test_two_names_are_two_images(scan, tmp_path):
    for name in ("1.png", "001.png", "photo.png"):
        save(tmp_path / "in" / name)
    assert not segment(scan, tmp_path / "in", out=tmp_path / "out")
    records = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")]
    found = {record["segments"][0]["image_id"] for record in records}
    assert found == {"1", "001", "photo"}
    assert image_ids(["000000000139", "x"]) == {"000000000139": 139, "x": "x"}


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


def test_every_bad_image_is_one_message_and_the_others_are_made(tmp_path):
    tiny_scan().save(tmp_path / "model.safetensors")
    folder, out = tmp_path / "in", tmp_path / "out"
    save(folder / "good.png")
    save(folder / "z_good.jpg", 3)
    for name, make in BAD.items():
        make(folder / name)
    command = [sys.executable, "-m", "scan_core.apps.segment", folder, "--classes", "sea, море"]
    command += ["--checkpoint", tmp_path / "model.safetensors", "--out", out]
    environment = {**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    ran = subprocess.run(
        [*map(str, command)], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr, ran.stderr
    assert f"{len(BAD)} of {len(BAD) + 2} images were left out" in ran.stderr
    for name in BAD:
        assert name.encode(errors="backslashreplace").decode() in ran.stderr
    assert {path.name for path in out.iterdir()} == {
        f"{stem}{end}"
        for stem in ("good", "z_good")
        for end in ("_overlay.png", "_labels.png", ".json")
    }


@pytest.mark.parametrize("size", [(1, 900), (900, 1), (1, 1)])
def test_images_of_one_row_or_column(scan, tmp_path, size):
    save(tmp_path / "thin.png", size=size)
    assert not segment(scan, tmp_path / "thin.png", out=tmp_path / "out")
    assert np.array(Image.open(tmp_path / "out/thin_labels.png")).shape == size
