"""Intervals by bootstrap over the images: SciPy's, and as often right as they say."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from documented import ROOT
from scipy.stats import bootstrap
from small_models import settings

from scan_core.errors import InputError
from scan_core.evaluation.counts import image_counts
from scan_core.evaluation.intervals import Estimate, differences, estimate, load_cell
from scan_core.evaluation.metrics import metrics_of
from scan_core.evaluation.results import Merged, write_evaluation
from scan_core.evaluation.settings_file import EvaluationSettings
from scan_core.vocabulary.classes import load_class_list

VOC = load_class_list("voc_20")
CLASSES = replace(
    VOC, seen=tuple(number < 12 for number in range(20)), parents={0: (1,), 3: (2, 1)}
)
SETTINGS = EvaluationSettings.of_classifiers(settings())


def _world(images, seed, skill=0.7):
    """Images of a few classes each, whose pixels are right with a probability of the image."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(images):
        present = rng.choice(20, rng.integers(2, 6), replace=False)
        truth = rng.choice(present, 200)
        right = rng.random(200) < np.clip(rng.normal(skill, 0.2), 0, 1)
        predicted = np.where(right, truth, rng.choice([*present, *rng.choice(20, 2)], 200))
        truth = np.where(rng.random(200) < 0.05, 20, truth)
        rows.append(np.unique(predicted * 21 + truth, return_counts=True))
    return image_counts(rows, 20)


def test_the_interval_is_scipys():
    """The percentile interval over index resamples, up to the error of 1,000 draws."""
    counts = _world(40, 0)
    found = estimate(counts, CLASSES).intervals()
    spread = {name: bounds[1] - bounds[0] for name, bounds in found.items()}
    for metric in ("miou", "sg_iou", "miou_d2_v06_unseen", "hiou", "fwiou", "pacc_seen"):
        theirs = bootstrap(
            (np.arange(40),),
            lambda drawn: metrics_of(counts[drawn], CLASSES)[metric],  # noqa: B023
            method="percentile", vectorized=False, n_resamples=1000, rng=1,
        ).confidence_interval  # fmt: skip
        assert found[metric] == pytest.approx([*theirs], abs=0.12 * spread[metric]), metric


def test_the_interval_contains_the_truth_as_often_as_it_says():
    """200 test sets of 60 images; the truth is the metric of all images that there are."""
    everything = _world(6000, 1)
    truth = metrics_of(everything, CLASSES)
    rng = np.random.default_rng(2)
    inside = dict.fromkeys(("miou", "miou_unseen", "fwiou", "macc", "pacc"), 0)
    for _ in range(200):
        drawn = everything[rng.choice(6000, 60, replace=False)]
        found = estimate(drawn, CLASSES).intervals()
        for metric in inside:
            low, high = found[metric]
            inside[metric] += low <= truth[metric] <= high
    assert {metric: n for metric, n in inside.items() if not 180 <= n <= 194} == {}


def test_differences_are_paired():
    """A model differs from itself by exactly nothing, and from a slightly better one surely."""
    counts = _world(50, 3)
    one, worse = (estimate(of, CLASSES) for of in (counts, _world(50, 4, skill=0.4)))
    assert one.metrics == metrics_of(counts, CLASSES)
    assert set(map(tuple, differences(one, one).values())) == {(0, 0, 0)}
    for metric, (difference, low, high) in differences(one, worse).items():
        assert 0 < low < difference < high, metric
    unknown = Estimate({**one.metrics, "miou": None}, one.values)
    assert differences(one, unknown)["miou"] is None


@pytest.fixture
def evaluations(tmp_path):
    """Two evaluations of one benchmark, and one of another."""
    folders = [tmp_path / str(number) for number in range(3)]
    for folder, images, skill in zip(folders, (40, 40, 30), (0.5, 0.7, 0.7), strict=True):
        by_key = {key: _world(images, n, skill) for n, key in enumerate(SETTINGS.settings)}
        merged = Merged(by_key, SETTINGS, {"images": images, "counted": images, "seconds": 1.0})
        write_evaluation(folder, merged, CLASSES, {"benchmark": "voc_20"})
    return folders


def test_cells_are_means_over_their_seeds(evaluations):
    key = SETTINGS.classifiers["combined"]
    worse, better, _ = (load_cell([(folder, key)]) for folder in evaluations)
    gain, low, high = differences(better, worse)["miou"]
    assert 0 < low < gain < high
    mean = load_cell([(folder, key) for folder in evaluations[:2]])
    for ours, *both in zip(mean, worse, better, strict=True):
        np.testing.assert_allclose(ours["miou"], sum(of["miou"] for of in both) / 2)
    with pytest.raises(InputError, match="has no settings nothing"):
        load_cell([(evaluations[0], "nothing")])
    metrics = json.loads((evaluations[0] / "metrics.json").read_text())
    low, high = metrics["intervals"]["combined"]["miou"]
    assert low < metrics["results"]["combined"]["miou"] < high
    assert metrics["differences"].keys() == {"in_vocabulary", "clip_only"}
    by_key = json.loads((evaluations[0] / "evaluation.json").read_text())
    assert by_key[key]["intervals"]["miou"] == [low, high]


def test_the_command_compares(evaluations):
    def compare(*given):
        command = [sys.executable, "-m", "scan_core.apps.compare", *map(str, given)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    found = compare(evaluations[0], evaluations[1], "--classes", "voc_20", "--top", 2)
    assert found.returncode == 0, found.stderr
    (miou,) = (line for line in found.stdout.splitlines() if line.startswith("mIoU  "))
    first, second, difference, low, high = map(float, miou.split()[1:6])
    assert difference == pytest.approx(second - first, abs=0.011)
    assert 0 < low < difference < high
    assert miou.endswith("*")
    assert found.stdout.count("\n") > 15
    found = compare(evaluations[0], evaluations[2])
    assert "images is '40' in one, '30' in the other" in found.stderr
