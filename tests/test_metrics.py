"""The metrics equal those measured with the released evaluators (per cent, to 1e-9)."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scan_core.errors import InputError
from scan_core.evaluation.confusion import cells_and_pixels, count_pixels, mean_iou
from scan_core.evaluation.counts import confusion_matrix, image_counts, save_counts
from scan_core.evaluation.metrics import ClassSums, per_class
from scan_core.evaluation.results import merge_shards
from scan_core.params.metric_names import METRICS
from scan_core.vocabulary.classes import load_class_list

PARITY = Path(__file__).parent / "parity"
NAMES = {
    "miou_d2_v06": "mIoU",
    "miou": "mIoU_over_classes_with_gt",
    "fwiou": "fwIoU",
    "macc": "mACC",
    "pacc": "pACC",
}


@pytest.fixture(scope="module")
def released():
    arrays = np.load(PARITY / "metric.npz")
    return arrays, json.loads((PARITY / "metric.json").read_text())


def _case(released, name):
    """The sums of a confusion matrix of the pack, and the key of its numbers."""
    arrays, tables = released
    if name == "847":
        matrix = np.zeros((848, 848), np.int64)
        where = arrays["metric.conf847_row"], arrays["metric.conf847_col"]
        matrix[where] = arrays["metric.conf847_val"]
        classes, key = load_class_list("ade20k_847"), "847"
    else:
        matrix = arrays[f"metric.conf20_{name}"].reshape(21, 21)
        parents = _relations(tables["father_class_20"])
        flags = tuple(number in tables["evaluation_set"]["base"] for number in range(20))
        classes = replace(load_class_list("voc_20"), parents=parents, seen=flags)
        key = f"20_{name}"
    return ClassSums.of_confusion(matrix, classes), key


def _relations(table):
    return {int(c): f if isinstance(f, list) else [f] for c, f in table.items()}


@pytest.mark.parametrize("name", ["dense", "sparse", "847"])
def test_every_metric_of_the_release(released, name):
    arrays, tables = released
    sums, key = _case(released, name)
    metrics = sums.metrics()
    assert list(metrics) == list(METRICS)
    for ours, theirs in NAMES.items():
        assert 100 * metrics[ours] == pytest.approx(tables[f"vanilla{key}"][theirs], abs=1e-9)
    assert 100 * metrics["sg_iou"] == pytest.approx(tables[f"sgiou{key}"]["mIoU"], abs=1e-9)
    for rule, right in (("vanilla", sums.right), ("sgiou", sums.guided)):
        expected = tables[f"{rule}{key}"]["mACC"]
        assert 100 * sums.mean(sums.accuracy(right)) == pytest.approx(expected, abs=1e-9)
        for found, theirs in ((sums.iou(right), "iou"), (sums.accuracy(right), "acc")):
            expected = arrays[f"metric.{rule}{key}.{theirs}"]
            np.testing.assert_allclose(100 * found[0], expected, rtol=0, atol=1e-9)


def test_the_built_in_relations_are_those_of_the_release(released):
    table = _relations(released[1]["father_class_847"])
    built_in = load_class_list("ade20k_847").parents
    assert {c: sorted(f) for c, f in built_in.items()} == {c: sorted(f) for c, f in table.items()}


@pytest.mark.parametrize("rule", ["vanilla", "sgiou"])
@pytest.mark.parametrize("name", ["dense", "sparse"])
def test_the_mean_over_every_set_of_classes_is_that_of_the_release(released, rule, name):
    tables = released[1]
    sums, key = _case(released, name)
    iou = sums.iou(sums.right if rule == "vanilla" else sums.guided)
    seen = np.array(sums.classes.seen)
    for chosen, among in (("base", seen), ("unbase", ~seen)):
        table = tables[f"{rule}{key}_set"]
        mean = 100 * sums.mean_d2_v06(iou, among)
        assert mean == pytest.approx(table[f"mIoU-{chosen}"], abs=1e-9)
        if rule == "vanilla":
            half = "seen" if chosen == "base" else "unseen"
            for ours, theirs in ((f"pacc_{half}", "pAcc"), (f"miou_d2_v06_{half}", "mIoU")):
                expected = table[f"{theirs}-{chosen}"]
                assert 100 * sums.metrics()[ours] == pytest.approx(expected, abs=1e-9)
        with_truth = 100 * np.nanmean(iou[0, among])
        assert 100 * sums.mean(iou, among) == pytest.approx(with_truth, abs=1e-9)


def test_both_means_of_seen_and_unseen_classes_have_names(released):
    """The novel classes of the pack's dense case: three of them are predicted and not there."""
    metrics = _case(released, "dense")[0].metrics()
    assert 100 * metrics["miou_unseen"] == pytest.approx(72.6065497825078, abs=1e-6)
    expected = released[1]["vanilla20_dense_set"]["hIoU-base"]
    assert 100 * metrics["hiou_d2_v06"] == pytest.approx(expected, abs=1e-9)
    one, other = metrics["miou_seen"], metrics["miou_unseen"]
    assert metrics["hiou"] == pytest.approx(2 / (1 / one + 1 / other), abs=1e-12)


def test_the_validation_in_training_has_the_metric_of_the_same_name(released):
    for name in ("dense", "sparse"):
        sums, _ = _case(released, name)
        matrix = released[0][f"metric.conf20_{name}"].reshape(21, 21)
        assert mean_iou(matrix) == sums.metrics()["miou"][0]


def test_the_matrix_of_label_maps_is_that_of_the_release(released, tmp_path):
    """Scores to class maps to counts; in two shards, merged."""
    arrays, tables = released
    paths = [tmp_path / f"{number}.npz" for number in range(2)]
    for number, size in enumerate(((17, 23), (30, 12))):
        scores = arrays[f"metric.proc_scores{number}_u8"].reshape(20, *size)
        truth = arrays[f"metric.proc_gt{number}"].reshape(size)
        given = torch.from_numpy(scores.argmax(0)), torch.from_numpy(truth)
        row = cells_and_pixels(*given, 20)
        about = {"timing": {"images": 1}, "settings": {"classifiers": {}, "settings": {}}}
        save_counts(paths[number], {"one": image_counts([row], 20)}, **about)
    merged = merge_shards(paths)
    assert merged.timing == {"images": 2}
    counts = confusion_matrix(merged.counts["one"])
    np.testing.assert_array_equal(counts, arrays["metric.proc_conf"].reshape(21, 21))
    for rule, relations in (("vanilla", {}), ("sgiou", tables["father_class_20"])):
        classes = replace(load_class_list("voc_20"), parents=_relations(relations))
        sums = ClassSums.of(merged.counts["one"], classes)
        expected = arrays[f"metric.process20_{rule}.iou"]
        np.testing.assert_allclose(100 * sums.iou(sums.guided)[0], expected, rtol=0, atol=1e-9)


def test_ids_that_are_no_class_have_no_ground_truth():
    truth = torch.tensor([0, 65535, 1], dtype=torch.uint16)
    counts = count_pixels(torch.tensor([0, 1, 0]), truth, 2)
    assert counts.tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    with pytest.raises(InputError, match=r"\(3, 4\) and \(4, 3\)"):
        count_pixels(torch.zeros(3, 4), torch.zeros(4, 3), 2)


def test_the_table_of_classes():
    classes = load_class_list("mini_ade_36")
    counts = np.zeros((37, 37), np.int64)
    counts[0, 0], counts[1, 0], counts[2, 0], counts[0, 36] = 60, 30, 10, 500
    table = per_class(counts, classes)
    assert len(table) == 36
    shown = ["name", "iou", "mistaken_for", "truth_pixels", "predicted_pixels"]
    assert table.loc[0, shown].tolist() == [classes.names[0], 0.6, classes.names[1], 100, 60]
    assert table.loc[1].isna()["iou"]
    assert table.loc[1, "mistaken_for"] == ""


def test_relations_of_ones_own(tmp_path):
    path = tmp_path / "pets.json"
    pets = {"names": ["dog", "animal"], "raw_ids": [1, 2], "parents": {"dog": ["animal"]}}
    path.write_text(json.dumps(pets))
    counts = np.array([[50, 0, 0], [50, 100, 0], [0, 0, 0]])
    sums = ClassSums.of_confusion(counts, load_class_list(str(path)))
    assert sums.iou(sums.guided)[0, 0] == pytest.approx(1.0)
    assert sums.iou()[0, 0] == pytest.approx(0.5)
