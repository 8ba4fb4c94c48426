"""The metrics equal those measured with the released evaluators (per cent, to 1e-9)."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scan_core.errors import InputError
from scan_core.evaluation.confusion import ConfusionMatrix, as_evaluated
from scan_core.evaluation.merging import merge_shards, numbers_of, save_shard
from scan_core.evaluation.metrics import segmentation_metrics
from scan_core.evaluation.per_class import per_class_table
from scan_core.evaluation.sg_iou import sg_metrics
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

# Of shards that were counted with no settings of a model.
TIMING, SETTINGS = {"images": 1, "seconds": 1.0}, '{"ways": {}, "settings": {}}'


@pytest.fixture(scope="module")
def released():
    arrays = np.load(PARITY / "metric.npz")
    return arrays, json.loads((PARITY / "metric.json").read_text())


def _matrix(arrays, name):
    if name != "847":
        return arrays[f"metric.conf20_{name}"].reshape(21, 21)
    matrix = np.zeros((848, 848), np.int64)
    matrix[arrays["metric.conf847_row"], arrays["metric.conf847_col"]] = arrays[
        "metric.conf847_val"
    ]
    return matrix


def _relations(table):
    return {int(c): f if isinstance(f, list) else [f] for c, f in table.items()}


@pytest.mark.parametrize("rule", ["vanilla", "sgiou"])
@pytest.mark.parametrize("name", ["dense", "sparse", "847"])
def test_every_metric_of_the_release(released, rule, name):
    arrays, tables = released
    matrix = _matrix(arrays, name)
    key = f"{rule}847" if name == "847" else f"{rule}20_{name}"
    relations = _relations(tables["father_class_847" if name == "847" else "father_class_20"])
    result = segmentation_metrics(matrix) if rule == "vanilla" else sg_metrics(matrix, relations)
    for ours, theirs in NAMES.items():
        assert 100 * getattr(result, ours) == pytest.approx(tables[key][theirs], abs=1e-9)
    for ours, theirs in (("iou", "iou"), ("accuracy", "acc")):
        expected = arrays[f"metric.{key}.{theirs}"]
        np.testing.assert_allclose(100 * getattr(result, ours), expected, rtol=0, atol=1e-9)


def test_the_built_in_relations_are_those_of_the_release(released):
    table = _relations(released[1]["father_class_847"])
    built_in = load_class_list("ade20k_847").parents
    assert {c: sorted(f) for c, f in built_in.items()} == {c: sorted(f) for c, f in table.items()}


@pytest.mark.parametrize("rule", ["vanilla", "sgiou"])
@pytest.mark.parametrize("name", ["dense", "sparse"])
def test_the_mean_over_every_set_of_classes_is_that_of_the_release(released, rule, name):
    arrays, tables = released
    relations = _relations(tables["father_class_20"])
    matrix = _matrix(arrays, name)
    result = segmentation_metrics(matrix) if rule == "vanilla" else sg_metrics(matrix, relations)
    base = tables["evaluation_set"]["base"]
    sets = {"base": base, "unbase": sorted({*range(20)} - {*base})}
    for chosen, classes in sets.items():
        with_truth, as_released = result.mean_over(classes)
        expected = tables[f"{rule}20_{name}_set"][f"mIoU-{chosen}"]
        assert 100 * as_released == pytest.approx(expected, abs=1e-9)
        assert 100 * with_truth == pytest.approx(100 * np.nanmean(result.iou[classes]), abs=1e-9)


def test_both_means_of_seen_and_unseen_classes_have_names(released):
    """The novel classes of the pack's dense case: three of them are predicted and not there."""
    arrays, tables = released
    flags = tuple(number in tables["evaluation_set"]["base"] for number in range(20))
    classes = replace(load_class_list("voc_20"), seen=flags)
    numbers = numbers_of(_matrix(arrays, "dense"), classes)
    assert list(numbers) == list(METRICS)
    assert 100 * numbers["miou_d2_v06_unseen"] == pytest.approx(63.530731059694304, abs=1e-9)
    assert 100 * numbers["miou_unseen"] == pytest.approx(72.6065497825078, abs=1e-6)
    assert numbers["miou_d2_v06_seen"] <= numbers["miou_seen"]


def test_nothing_labelled_gives_nan():
    result = segmentation_metrics(np.zeros((4, 4), np.int64))
    assert np.isnan([result.miou, result.miou_d2_v06, result.pacc]).all()


def test_the_matrix_of_label_maps_is_that_of_the_release(released, tmp_path):
    """Scores to class maps to counts; in two shards, merged."""
    arrays, tables = released
    shards = []
    for shard, size in enumerate(((17, 23), (30, 12))):
        scores = arrays[f"metric.proc_scores{shard}_u8"].reshape(20, *size)
        truth = arrays[f"metric.proc_gt{shard}"].reshape(size)
        matrix = ConfusionMatrix(20)
        matrix.add(torch.from_numpy(scores.argmax(0)), torch.from_numpy(truth))
        shards.append(matrix)
    for number, matrix in enumerate(shards):
        save_shard(tmp_path / f"{number}.npz", {"one": matrix.counts()}, TIMING, SETTINGS)
    counts = merge_shards([tmp_path / "0.npz", tmp_path / "1.npz"]).counts["one"]
    np.testing.assert_array_equal(counts, arrays["metric.proc_conf"].reshape(21, 21))
    for rule, relations in (("vanilla", {}), ("sgiou", tables["father_class_20"])):
        result = sg_metrics(counts, _relations(relations))
        expected = arrays[f"metric.process20_{rule}.iou"]
        np.testing.assert_allclose(100 * result.iou, expected, rtol=0, atol=1e-9)


def test_counts_are_exact_beyond_what_floats_hold():
    matrix = ConfusionMatrix(2)
    matrix._counts[0] = 2**53
    matrix.add(torch.tensor([0, 1]), torch.tensor([0, 65535], dtype=torch.uint16))
    assert matrix.counts().tolist() == [[2**53 + 1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_matrices_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"\(3, 4\) and \(4, 3\)"):
        ConfusionMatrix(2).add(torch.zeros(3, 4), torch.zeros(4, 3))


def test_voc_20b_counts_all_other_context_classes_as_background():
    classes = load_class_list("voc_20b")
    predicted = torch.tensor([0, 19, 20, 21, 58])
    assert as_evaluated(predicted, classes).tolist() == [0, 19, 20, 20, 20]
    assert as_evaluated(predicted, load_class_list("context_59")) is predicted


def test_the_table_of_classes():
    classes = load_class_list("mini_ade_36")
    counts = np.zeros((37, 37), np.int64)
    counts[0, 0], counts[1, 0], counts[2, 0], counts[0, 36] = 60, 30, 10, 500
    rows = list(csv.DictReader(per_class_table(counts, classes).splitlines()))
    assert len(rows) == 36
    first = rows[0]
    assert first["name"] == classes.names[0]
    assert float(first["iou"]) == pytest.approx(0.6)
    assert first["mistaken_for"] == classes.names[1]
    assert (first["truth_pixels"], first["predicted_pixels"]) == ("100", "60")
    assert rows[1]["iou"] == ""
    assert rows[1]["mistaken_for"] == ""


@pytest.mark.parametrize("name", ["ade20k_150", "ade20k_847", "context_459"])
def test_every_published_vocabulary_has_its_relations(name):
    classes = load_class_list(name)
    assert len(classes.parents) == {"ade20k_150": 33, "ade20k_847": 306, "context_459": 122}[name]


def test_relations_of_ones_own(tmp_path):
    path = tmp_path / "pets.json"
    path.write_text(
        json.dumps({"names": ["dog", "animal"], "raw_ids": [1, 2], "parents": {"dog": ["animal"]}})
    )
    counts = np.array([[50, 0, 0], [50, 100, 0], [0, 0, 0]])
    guided = sg_metrics(counts, load_class_list(str(path)).parents)
    assert guided.iou[0] == pytest.approx(1.0)
    assert segmentation_metrics(counts).iou[0] == pytest.approx(0.5)
