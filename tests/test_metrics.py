"""The metrics equal those measured with the released evaluators (per cent, to 1e-9)."""

import json
from pathlib import Path

import numpy as np
import pytest

from scan_core.evaluation.metrics import segmentation_metrics
from scan_core.evaluation.sg_iou import sg_metrics
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
    built_in = load_class_list("ade20k_847").fathers
    assert {c: sorted(f) for c, f in built_in.items()} == {c: sorted(f) for c, f in table.items()}


def test_the_mean_over_a_set_of_classes_is_that_of_the_release(released):
    arrays, tables = released
    result = segmentation_metrics(_matrix(arrays, "dense"))
    base = tables["evaluation_set"]["base"]
    expected = tables["vanilla20_dense_set"]["mIoU-base"]
    assert 100 * result.mean_over(base) == pytest.approx(expected, abs=1e-9)


def test_nothing_labelled_gives_nan():
    result = segmentation_metrics(np.zeros((4, 4), np.int64))
    assert np.isnan([result.miou, result.miou_d2_v06, result.pacc]).all()
