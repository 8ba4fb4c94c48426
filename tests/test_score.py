"""Predictions of other models: the numbers of `evaluate`, and the field's own definitions."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from documented import ROOT
from PIL import Image
from raw_data import written

from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.evaluation.counts import confusion_matrix, load_counts
from scan_core.evaluation.metrics import metrics_of
from scan_core.evaluation.predictions import coco_results, count_predictions
from scan_core.evaluation.results import write_scores
from scan_core.vocabulary.classes import load_class_list

CLASSES = load_class_list("ade20k_847")
SIZES = [(31, 40), (24, 33), (50, 20)]


@pytest.fixture(scope="module")
def pairs():
    """Truth and prediction, mostly right; some classes are absent from one or the other."""
    rng, found = np.random.default_rng(0), []
    for size in SIZES:
        truth = rng.choice([0, 3, 250, 255, 256, 700, 846], size)
        other = rng.choice([0, 3, 250, 255, 500], size)
        predicted = np.where(rng.random(size) < 0.6, truth, other)
        found.append((np.where(rng.random(size) < 0.1, -1, truth), predicted))
    return found


@pytest.fixture(scope="module")
def benchmark(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    labels = {
        f"ADE_val_{number:08d}": np.where(truth < 0, CLASSES.ignore_label, truth).astype(np.uint16)
        for number, (truth, _) in enumerate(pairs)
    }
    written(folder, labels, CLASSES)
    return folder


def _write(folder, maps, values=None):
    folder.mkdir(exist_ok=True)
    for number, label in enumerate(maps):
        shown = label if values is None else np.asarray(values)[label]
        kind = np.uint8 if shown.max() < 256 else np.uint16
        Image.fromarray(shown.astype(kind)).save(folder / f"ADE_val_{number:08d}.png")
    return folder


def _masks(maps, folder=""):
    named = ((f"{folder}ADE_val_{number:08d}.jpg", label) for number, label in enumerate(maps))
    return [coco_results(name, label, CLASSES.names) for name, label in named]


def _counted(benchmark, predictions, ids="training"):
    return count_predictions(
        BenchmarkImages(benchmark / "index.json", "val"), CLASSES, predictions, ids
    )["combined"]


def test_every_kind_of_file_gives_the_same_counts(benchmark, pairs, tmp_path):
    maps = [prediction for _, prediction in pairs]
    files = {
        "training": _write(tmp_path / "training", maps),
        "raw": _write(tmp_path / "raw", maps, CLASSES.raw_ids),
    }
    (tmp_path / "masks.json").write_text(json.dumps([*chain(*_masks(maps, "some/folder/"))]))
    expected = np.zeros((848, 848), np.int64)
    for truth, prediction in pairs:
        np.add.at(expected, (prediction, np.where(truth < 0, 847, truth)), 1)
    for ids, path in [*files.items(), ("training", tmp_path / "masks.json")]:
        counts = _counted(benchmark, path, ids)
        np.testing.assert_array_equal(confusion_matrix(counts), expected)


def test_the_command_writes_what_evaluate_writes_and_shows_the_published_numbers(
    benchmark, pairs, tmp_path
):
    folder = _write(tmp_path / "predicted", [prediction for _, prediction in pairs])
    ran = subprocess.run(
        [
            sys.executable, "-m", "scan_core.apps.score", "--benchmark", benchmark,
            "--predictions", folder, "--out", tmp_path / "scored", "--method", "CAT-Seg L",
        ],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    counts = _counted(benchmark, folder)
    metrics = json.loads((tmp_path / "scored/metrics.json").read_text())
    assert metrics["results"]["combined"] == metrics_of(counts, CLASSES)
    assert metrics["recipe"] == "CAT-Seg L"
    kept, _ = load_counts(tmp_path / "scored/counts.npz")
    assert (kept["combined"] != counts).nnz == 0
    assert len((tmp_path / "scored/per_class.csv").read_text().splitlines()) == 848
    published = (tmp_path / "scored/published.md").read_text()
    assert published in ran.stdout
    assert "**CAT-Seg L**" in published
    assert "SCAN L" in published


def test_bad_predictions_are_told_in_one_message(benchmark, pairs, tmp_path):
    maps = [prediction for _, prediction in pairs]
    folder = _write(tmp_path / "wrong", [maps[0].T, np.full_like(maps[1], 847)])
    with pytest.raises(InputError) as caught:
        _counted(benchmark, folder)
    text = str(caught.value)
    assert "3 of 3 images" in text
    assert "is 31x40 pixels, its label map 40x31" in text
    assert "hold 847, which is no training id of ade20k_847 (0 to 846)" in text
    assert "ADE_val_00000002.png is missing" in text

    raw = _write(tmp_path / "raw", maps, CLASSES.raw_ids)
    with pytest.raises(InputError, match="all of them are raw ids: --ids raw"):
        _counted(benchmark, raw)

    Image.new("RGB", maps[0].shape[::-1]).save(raw / "ADE_val_00000000.png")
    with pytest.raises(InputError, match="3 channels; expected one"):
        _counted(benchmark, raw)


def test_masks_that_overlap_or_leave_pixels_are_refused(benchmark, pairs, tmp_path):
    results = _masks(label for _, label in pairs)
    path = tmp_path / "masks.json"
    path.write_text(json.dumps([*results[0], *results[1][1:], *results[2], results[2][0]]))
    with pytest.raises(InputError) as caught:
        _counted(benchmark, path)
    assert "pixels of ADE_val_00000001 have no class" in str(caught.value)
    assert "masks of ADE_val_00000002 overlap" in str(caught.value)
    for text in ('{"annotations": []}', "[" * 100_000, '[{"file_name": 1}, 2]', "null"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"masks\.json cannot be read .*; expected a list of"):
            _counted(benchmark, path)


def test_masks_of_crowds_and_of_other_sizes(benchmark, pairs, tmp_path):
    """Run lengths as a list are COCO's own for crowds; sizes are compared before decoding."""
    maps = [prediction for _, prediction in pairs]
    expected = _counted(benchmark, _write(tmp_path / "maps", maps))
    results = [*chain(*_masks(maps))]
    for result in results:
        number = int(result["file_name"][8:16])
        column = (maps[number] == result["category_id"]).ravel(order="F")
        changes = np.flatnonzero(np.diff(np.concatenate([[0], column, [not column[-1]]])))
        result["segmentation"]["counts"] = np.diff(np.concatenate([[0], changes])).tolist()
    path = tmp_path / "masks.json"

    def counted(segmentation=None, **values):
        changed = [{**results[0], "segmentation": segmentation or results[0]["segmentation"]}]
        changed[0] |= values
        path.write_text(json.dumps(changed + results[1:]))
        return _counted(benchmark, path)

    assert (counted() != expected).nnz == 0
    height, width = maps[0].shape
    for segmentation, message in (
        ({"size": [3, 4], "counts": "04;3"}, "is 4x3 pixels, its label map 40x31"),
        ({"size": [height, width], "counts": [3, 5]}, "are of 8 pixels"),
        ({"size": [height, width], "counts": [-3, 3 + height * width]}, "negative"),
        # Run lengths that end too early, of which pycocotools makes noise.
        ({"size": [height, width], "counts": "04;3"}, "are of 22 pixels"),
        ({"size": [height, width], "counts": "oops"}, "are of .* pixels"),
        ({"size": [height, width], "counts": None}, "NoneType"),
        ({"size": [height, float("inf")], "counts": []}, "infinity"),
        ([[0, 0, 5, 0, 5, 5]], "list"),
    ):
        expected = rf"{message}.*expected \{{size, counts\}} of ADE_val_00000000"
        with pytest.raises(InputError, match=message if "4x3" in message else expected):
            counted(segmentation)
    with pytest.raises(InputError, match=r"expected \{size, counts\}"):
        counted(category_id=10**400)


def test_ids_counted_from_1_are_told(benchmark, pairs, tmp_path, caplog):
    """As a warning where all of them are classes, and in the message where one is not."""
    truth = [np.where(t < 0, 3, t) for t, _ in pairs]
    below = [np.where(label == 846, 3, label) for label in truth]
    _counted(benchmark, _write(tmp_path / "from 0", below))
    assert not caplog.records
    shifted = _write(tmp_path / "from 1", [label + 1 for label in below])
    _counted(benchmark, shifted)
    assert "the ids seem to be counted from 1" in caplog.text
    with pytest.raises(InputError, match=r"hold 847, .* are the ids counted from 1\?"):
        shifted = _write(tmp_path / "all", [label + 1 for label in truth])
        _counted(benchmark, shifted)


def test_a_list_of_one_class_is_told(tmp_path, caplog):
    classes = replace(CLASSES, names=("thing",), raw_ids=(1,), seen=None, parents={})
    label = np.zeros((4, 5), np.uint8)
    label[0] = 255
    images = written(tmp_path, {"0": label}, classes)
    (tmp_path / "predicted").mkdir()
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "predicted/0.png")
    given = tmp_path / "predicted"
    metrics = write_scores(images, classes, given, "training", "x", tmp_path / "out")
    assert metrics["miou"] == 1
    assert "has one class: every prediction is right" in caplog.text
