"""Converters: exact, restartable, and plain about what is wrong with a file."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from scan_core.datasets.conversion import convert
from scan_core.datasets.formats import FORMATS
from scan_core.datasets.index import load_index
from scan_core.datasets.loading import BenchmarkImages
from scan_core.datasets.verification import verify
from scan_core.errors import InputError
from scan_core.storage.images import read_label
from scan_core.storage.safe_pickle import load_plain_pickle
from scan_core.vocabulary.classes import load_class_list

ROOT = Path(__file__).parents[1]


def photo(path: Path, width: int = 24, height: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


def png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def labels(*values: int) -> np.ndarray:
    """16 x 24 pixels in vertical stripes of the values."""
    return np.repeat(np.array(values, np.uint8), 24 // len(values))[None].repeat(16, axis=0)


def run(name, classes, raw, output, splits=("val",), workers=1):
    return convert(
        FORMATS[name], load_class_list(classes), raw, output, splits, workers, "benchmark"
    )


def read(output: Path, index, split: str = "val", number: int = 0) -> np.ndarray:
    chosen = index.splits[split]
    with Image.open(output / chosen.label_root / chosen.samples[number].label) as file:
        return np.asarray(file)


@pytest.fixture
def ade(tmp_path):
    """Four images of the scene-parsing challenge."""
    raw = tmp_path / "raw"
    for number in range(1, 5):
        stem = f"ADE_val_{number:08d}"
        photo(raw / f"ADEChallengeData2016/images/validation/{stem}.jpg")
        png(raw / f"ADEChallengeData2016/annotations/validation/{stem}.png", labels(0, 1, 150))
    return raw


def ade_file(raw: Path, number: int, kind: str) -> Path:
    folder, suffix = {"image": ("images", "jpg"), "label": ("annotations", "png")}[kind]
    return raw / f"ADEChallengeData2016/{folder}/validation/ADE_val_{number:08d}.{suffix}"


def test_coco_stuff(tmp_path):
    raw, output = tmp_path / "raw", tmp_path / "out"
    for stem, values in (("a", (0, 12, 181, 11)), ("b", (255, 255, 90, 11)), ("c", (0, 0, 1, 1))):
        photo(raw / f"coco/train2017/{stem}.jpg")
        png(raw / f"coco/stuffthingmaps/train2017/{stem}.png", labels(*values))
    photo(raw / "coco/train2017/without_map.jpg")
    index = run("coco_stuff", "coco_stuff_171", raw, output, ["train"])
    assert read(output, index, "train")[0, ::6].tolist() == [0, 11, 170, 255]
    split = index.splits["train"]
    assert [sample.stem for sample in split.samples] == ["a", "c"]
    assert set(split.skipped) == {"b"}
    assert split.listed == 3  # what the expected number of images is compared with: the maps
    assert load_index(output / "index.json") == index


def test_ade20k_150(ade, tmp_path):
    index = run("ade20k_150", "ade20k_150", ade, tmp_path / "out", workers=2)
    assert read(tmp_path / "out", index)[0, ::8].tolist() == [255, 0, 149]
    assert len(index.splits["val"].samples) == 4


def test_ade20k_847_is_resized_and_read_by_its_index(tmp_path):
    raw, output = tmp_path / "raw", tmp_path / "out"
    folder = "ADE20K_2021_17_01/images/ADE/validation/a/b"
    photo(raw / folder / "ADE_val_1.jpg", 1201, 800)
    coded = np.zeros((800, 1201, 3), np.uint8)
    coded[:, :600] = (2978 // 256 * 10, 2978 % 256, 7)  # wall
    coded[:, 600:] = (3 * 10, 200, 0)  # a class of the release that is not among the 847
    png(raw / folder / "ADE_val_1_seg.png", coded)
    photo(raw / folder / "ADE_train_1.jpg")
    index_file = raw / "ADE20K_2021_17_01/index_ade20k.pkl"
    names = np.array(["ADE_val_1.jpg", "ADE_train_1.jpg"])
    index_file.write_bytes(pickle.dumps({"folder": [folder, folder], "filename": names}))
    index = run("ade20k_847", "ade20k_847", raw, output)
    (sample,) = index.splits["val"].samples
    assert (sample.width, sample.height) == (769, 512)
    label = read(output, index)
    assert label.dtype == np.uint16
    assert set(np.unique(label).tolist()) == {0, 65535}
    with Image.open(output / index.splits["val"].image_root / sample.image) as image:
        assert image.size == (769, 512)


@pytest.mark.parametrize("palette", [False, True])
def test_voc_with_and_without_background(tmp_path, palette):
    raw = tmp_path / "raw/VOCdevkit/VOC2012"
    photo(raw / "JPEGImages/x.jpg")
    path = raw / "SegmentationClassAug/x.png"
    path.parent.mkdir(parents=True)
    label = Image.fromarray(labels(0, 1, 20, 255))
    if palette:
        label.putpalette(bytes(range(256)) * 3)
    label.save(path)
    (raw / "ImageSets/Segmentation").mkdir(parents=True)
    (raw / "ImageSets/Segmentation/val.txt").write_text("x\n")
    for classes, background in (("voc_20", 255), ("voc_20b", 20)):
        output = tmp_path / classes
        index = run("pascal_voc", classes, tmp_path / "raw", output)
        assert read(output, index)[0, ::6].tolist() == [background, 0, 19, 255]


def test_context_of_59_and_459(tmp_path):
    raw = tmp_path / "raw/VOCdevkit/VOC2010"
    values = np.array([[0, 1, 2, 459]], np.uint16).repeat(16, 0).repeat(6, 1)
    (raw / "trainval").mkdir(parents=True)
    for stem in ("x", "y"):
        photo(raw / f"JPEGImages/{stem}.jpg")
        scipy.io.savemat(raw / f"trainval/{stem}.mat", {"LabelMap": values})
    (raw / "ImageSets/Main").mkdir(parents=True)
    (raw / "ImageSets/Main/val.txt").write_text("x\ny\nnever_labelled\n")
    full = run("pascal_context", "context_459", tmp_path / "raw", tmp_path / "459")
    assert read(tmp_path / "459", full)[0, ::6].tolist() == [65535, 0, 1, 458]
    part = run("pascal_context", "context_59", tmp_path / "raw", tmp_path / "59")
    assert read(tmp_path / "59", part)[0, ::6].tolist() == [255, 255, 0, 255]
    assert part.splits["val"].listed == 3
    assert set(part.splits["val"].skipped) == {"never_labelled"}
    (raw / "trainval/y.mat").write_bytes((raw / "trainval/y.mat").read_bytes()[:150])
    with pytest.raises(InputError, match=r"y\.mat is corrupt"):
        run("pascal_context", "context_59", tmp_path / "raw", tmp_path / "59")
    (raw / "trainval/y.mat").unlink()
    with pytest.raises(InputError, match="labels are missing"):
        run("pascal_context", "context_59", tmp_path / "raw", tmp_path / "59")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda raw: ade_file(raw, 2, "label").unlink(), "has no label in"),
        (lambda raw: ade_file(raw, 2, "image").unlink(), "has no image in"),
        (lambda raw: photo(ade_file(raw, 2, "image"), 25, 16), "is 25x16 pixels, but its label"),
        (lambda raw: png(ade_file(raw, 2, "label"), labels(0, 151)), "label value 151 is out of"),
        (lambda raw: _truncate(ade_file(raw, 2, "image")), "is damaged"),
        (lambda raw: _truncate(ade_file(raw, 2, "label")), "is damaged"),
        (lambda raw: ade_file(raw, 2, "label").write_text("<html>"), "is no image"),
        (lambda raw: png(ade_file(raw, 2, "label"), np.zeros((16, 24, 3), np.uint8)), "one value"),
    ],
)
def test_a_bad_file_is_named_and_the_others_are_kept(ade, tmp_path, damage, words):
    good = {kind: ade_file(ade, 2, kind).read_bytes() for kind in ("image", "label")}
    damage(ade)
    output = tmp_path / "out"
    with pytest.raises(InputError, match=words) as caught:
        run("ade20k_150", "ade20k_150", ade, output)
    assert "ADE_val_00000002" in str(caught.value)
    assert not (output / "labels").exists()
    assert not (output / "index.json").exists()
    for kind, content in good.items():
        ade_file(ade, 2, kind).write_bytes(content)
    index = run("ade20k_150", "ade20k_150", ade, output)
    assert len(index.splits["val"].samples) == 4
    assert not (output / "partial").exists()


def test_a_class_list_of_another_format_is_refused(ade, tmp_path):
    with pytest.raises(InputError, match=r"'context_459' has the raw id 459"):
        run("ade20k_150", "context_459", ade, tmp_path / "out")


def test_a_killed_conversion_continues(tmp_path):
    raw, output = tmp_path / "raw", tmp_path / "out"
    for number in range(600):
        photo(ade_file(raw, number, "image"), 320, 240)
        png(ade_file(raw, number, "label"), np.full((240, 320), number % 151, np.uint8))
    command = [
        sys.executable, "-m", "workflow_scripts.convert_benchmark",
        "--format", "ade20k_150", "--raw-root", str(raw),
        "--classes", "ade20k_150", "--name", "b", "--splits", "val", "--output", str(output),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    finished = output / "partial/labels/val"
    deadline = time.monotonic() + 30
    while not finished.is_dir() or len(list(finished.glob("ADE*"))) < 20:
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in finished.glob("ADE*")}
    assert not (output / "index.json").exists()
    assert 20 <= len(kept) < 600
    (finished / f".{os.uname().nodename}-{process.pid}-0.tmp.png").write_bytes(b"cut off")
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    done = output / "labels/val"
    assert len(list(done.iterdir())) == 600
    # What is noted as done is not even looked at; the one that was being noted is made again.
    again = [name for name, at in kept.items() if (done / name).stat().st_mtime_ns != at]
    assert len(again) <= 1


def test_other_projects_find_the_benchmark_of_the_same_data_made(ade, tmp_path):
    output = tmp_path / "out"
    first = run("ade20k_150", "ade20k_150", ade, output)
    stamps = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    assert run("ade20k_150", "ade20k_150", ade, output) == first
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == stamps
    png(ade_file(ade, 1, "label"), labels(2, 2, 2))
    assert run("ade20k_150", "ade20k_150", ade, output) != first


@pytest.mark.parametrize("kind", ["label", "image"])
def test_a_single_bit_is_noticed_when_it_is_read(ade, tmp_path, kind):
    output = tmp_path / "out"
    split = run("ade20k_150", "ade20k_150", ade, output).splits["val"]
    images = BenchmarkImages(output / "index.json", "val")
    read_one = images.label if kind == "label" else images.image
    read_one(0)
    root = output / (split.label_root if kind == "label" else split.image_root)
    path = root / getattr(split.samples[0], kind)
    for position in range(0, path.stat().st_size, 7):
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(InputError, match=f"{path.name} cannot be read: it is not the file"):
            read_one(0)
        path.write_bytes(whole)
    read_one(0)


def test_a_single_bit_of_an_index_is_noticed(ade, tmp_path):
    run("ade20k_150", "ade20k_150", ade, tmp_path / "out")
    path = tmp_path / "out/index.json"
    whole = path.read_bytes()
    for position in range(0, len(whole), 5):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(InputError, match="delete it to have it made again"):
            load_index(path)


def test_a_project_whose_data_is_a_link_can_be_renamed(ade, tmp_path, monkeypatch):
    (tmp_path / "scratch").mkdir()
    project = tmp_path / "project"
    project.mkdir()
    (project / "data").symlink_to(tmp_path / "scratch")
    ade.rename(tmp_path / "scratch/raw")
    monkeypatch.chdir(project)
    run("ade20k_150", "ade20k_150", Path("data/raw"), Path("data/benchmarks/b"))
    monkeypatch.chdir(tmp_path)
    project.rename(tmp_path / "renamed")
    BenchmarkImages(tmp_path / "renamed/data/benchmarks/b/index.json", "val").image(0)


def test_leftovers_of_other_raw_data_are_not_used(ade, tmp_path):
    output = tmp_path / "out"
    _truncate(ade_file(ade, 4, "image"))
    with pytest.raises(InputError):
        run("ade20k_150", "ade20k_150", ade, output)
    for number in range(1, 5):
        photo(ade_file(ade, number, "image"))
        png(ade_file(ade, number, "label"), labels(2, 2, 2))
    index = run("ade20k_150", "ade20k_150", ade, output)
    assert np.unique(read(output, index)).tolist() == [1]


def test_verification_finds_what_changed_afterwards(ade, tmp_path):
    output = tmp_path / "out"
    run("ade20k_150", "ade20k_150", ade, output)
    report = verify(output / "index.json", {"val": 4}, workers=1)
    counted = report["splits"]["val"]
    assert counted["images"] == 4
    assert counted["pixels"]["wall"] == counted["pixels"]["flag"] == 4 * 16 * 8
    assert len(counted["absent"]) == 148
    with pytest.raises(InputError, match="lists 4 images, expected 5"):
        verify(output / "index.json", {"val": 5}, workers=1)
    label = output / "labels/val/ADE_val_00000003.png"
    png(label, labels(3, 200))
    with pytest.raises(InputError, match="value 200 is no class"):
        verify(output / "index.json", {}, workers=1)
    png(label, labels(3, 3)[:8])
    with pytest.raises(InputError, match="is 24x8 and"):
        verify(output / "index.json", {}, workers=1)
    label.unlink()
    with pytest.raises(InputError, match=r"ADE_val_00000003\.png does not exist"):
        verify(output / "index.json", {}, workers=1)


class _Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


def test_a_malicious_index_is_refused_without_running_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "index_ade20k.pkl"
    path.write_bytes(pickle.dumps({"folder": _Attack()}))
    with pytest.raises(InputError, match="refused"):
        load_plain_pickle(path)
    assert not (tmp_path / "attacked").exists()
    path.write_bytes(b"\x80\x04no pickle")
    with pytest.raises(InputError, match="index_ade20k"):
        load_plain_pickle(path)


@pytest.mark.parametrize("folder", ["../../etc", "/etc"])
def test_an_index_cannot_point_outside(tmp_path, folder):
    index = tmp_path / "raw/ADE20K_2021_17_01/index_ade20k.pkl"
    index.parent.mkdir(parents=True)
    index.write_bytes(pickle.dumps({"folder": [folder], "filename": ["ADE_val_1.jpg"]}))
    with pytest.raises(InputError, match="outside the raw data"):
        run("ade20k_847", "ade20k_847", tmp_path / "raw", tmp_path / "out")


def test_images_are_found_from_the_index_wherever_it_is_read(ade, tmp_path):
    output = tmp_path / "out"
    index = run("ade20k_150", "ade20k_150", ade, output)
    split = index.splits["val"]
    assert (output / split.image_root / split.samples[0].image).is_file()
    shutil.rmtree(ade)
    assert load_index(output / "index.json") == index


def test_a_flipped_byte_is_never_a_different_label(ade, tmp_path):
    path = ade_file(ade, 2, "label")
    png(path, np.random.default_rng(0).integers(0, 151, (16, 24), np.uint8))
    good, found = path.read_bytes(), np.asarray(Image.open(path))
    for position in range(len(good)):
        damaged = bytearray(good)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        try:
            assert np.array_equal(read_label(path), found), position
        except InputError:
            continue


@pytest.mark.parametrize(
    "content", ["flipped", b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(400)]
)
def test_a_damaged_mat_file_does_not_stop_the_others(tmp_path, content):
    raw = tmp_path / "raw/VOCdevkit/VOC2010"
    (raw / "trainval").mkdir(parents=True)
    (raw / "ImageSets/Main").mkdir(parents=True)
    (raw / "ImageSets/Main/val.txt").write_text("x\ny\n")
    for stem in ("x", "y"):
        photo(raw / f"JPEGImages/{stem}.jpg")
        label = {"LabelMap": labels(1, 2).astype(np.uint16)}
        scipy.io.savemat(raw / f"trainval/{stem}.mat", label, do_compression=True)
    damaged = bytearray((raw / "trainval/x.mat").read_bytes())
    damaged[-3] ^= 9  # in the checksum of the compressed matrix
    (raw / "trainval/x.mat").write_bytes(damaged if content == "flipped" else content)
    with pytest.raises(InputError, match=r"1 of 2 images .*\n.*x\.mat is corrupt"):
        run("pascal_context", "context_59", tmp_path / "raw", tmp_path / "out")
    assert (tmp_path / "out/partial/labels/val/y.png").is_file()


def test_missing_pixel_maps_of_coco_are_noticed(tmp_path):
    raw, output = tmp_path / "raw", tmp_path / "out"
    for stem in ("a", "b", "c"):
        photo(raw / f"coco/train2017/{stem}.jpg")
    png(raw / "coco/stuffthingmaps/train2017/a.png", labels(0, 1))
    run("coco_stuff", "coco_stuff_171", raw, output, ["train"])
    with pytest.raises(InputError, match="'train' lists 1 images, expected 3"):
        verify(output / "index.json", {"train": 3}, workers=1)


@pytest.mark.parametrize(
    ("lines", "words"),
    [("x\n../../x\n", "is a path, not an image name"), ("x\nx\n", "lists x 2 times")],
)
def test_a_list_names_each_image_once_and_none_outside(tmp_path, lines, words):
    raw = tmp_path / "raw/VOCdevkit/VOC2012"
    for root in (raw / "JPEGImages", raw.parent):
        photo(root / "x.jpg")
    for root in (raw / "SegmentationClassAug", raw.parent):
        png(root / "x.png", labels(1, 2))
    (raw / "ImageSets/Segmentation").mkdir(parents=True)
    (raw / "ImageSets/Segmentation/val.txt").write_text(lines)
    with pytest.raises(InputError, match=words):
        run("pascal_voc", "voc_20", tmp_path / "raw", tmp_path / "out")


def test_images_of_a_few_pixels_are_checked_too(tmp_path):
    raw = tmp_path / "raw"
    photo(ade_file(raw, 1, "image"), 5, 9)
    png(ade_file(raw, 1, "label"), np.ones((9, 5), np.uint8))
    index = run("ade20k_150", "ade20k_150", raw, tmp_path / "out")
    assert index.splits["val"].samples[0].width == 5


def test_a_finished_file_without_content_is_made_again(ade, tmp_path):
    output = tmp_path / "out"
    good = ade_file(ade, 4, "image").read_bytes()
    stamp = ade_file(ade, 4, "image").stat().st_mtime_ns
    ade_file(ade, 4, "image").write_bytes(bytes(len(good)))
    os.utime(ade_file(ade, 4, "image"), ns=(stamp, stamp))
    with pytest.raises(InputError, match="ADE_val_00000004"):
        run("ade20k_150", "ade20k_150", ade, output)
    ade_file(ade, 4, "image").write_bytes(good)
    os.utime(ade_file(ade, 4, "image"), ns=(stamp, stamp))
    (output / "partial/labels/val/ADE_val_00000001.png").write_bytes(b"")
    index = run("ade20k_150", "ade20k_150", ade, output)
    assert read(output, index)[0, ::8].tolist() == [255, 0, 149]


def test_images_are_found_from_a_linked_output_folder(ade, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scratch/deep").mkdir(parents=True)
    (tmp_path / "benchmarks").symlink_to(tmp_path / "scratch/deep")
    output = Path("benchmarks/b")
    split = run("ade20k_150", "ade20k_150", ade.relative_to(tmp_path), output).splits["val"]
    assert not Path(split.image_root).is_absolute()
    assert (output / split.image_root / split.samples[0].image).is_file()


def test_verification_names_the_split_the_type_and_the_file_that_is_wrong(ade, tmp_path):
    output = tmp_path / "out"
    run("ade20k_150", "ade20k_150", ade, output)
    with pytest.raises(InputError, match="split 'train' is missing"):
        verify(output / "index.json", {"train": 4, "val": 4}, workers=1)
    label = output / "labels/val/ADE_val_00000003.png"
    good = label.read_bytes()
    png(label, np.full((16, 24), 300, np.uint16))
    with pytest.raises(InputError, match="holds uint16, expected values up to 255"):
        verify(output / "index.json", {}, workers=1)
    label.write_bytes(good)
    ade_file(ade, 3, "image").write_text("<html>")
    with pytest.raises(InputError, match=r"ADE_val_00000003\.jpg is no image"):
        verify(output / "index.json", {}, workers=1)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_an_index_of_any_pickle_protocol_is_read(tmp_path, protocol):
    path = tmp_path / "index_ade20k.pkl"
    path.write_bytes(pickle.dumps({"objectPresence": np.eye(3)}, protocol=protocol))
    assert np.array_equal(load_plain_pickle(path)["objectPresence"], np.eye(3))


def test_an_empty_split_is_refused(tmp_path):
    for folder in ("train2017", "stuffthingmaps/train2017"):
        (tmp_path / "raw/coco" / folder).mkdir(parents=True)
    with pytest.raises(InputError, match="'train' has no labelled image in"):
        run("coco_stuff", "coco_stuff_171", tmp_path / "raw", tmp_path / "out", ["train"])
