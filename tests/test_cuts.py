"""Which pixels are wrong: every cut on a case that can be counted by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from scan_core.evaluation.counts import bands, image_counts
from scan_core.evaluation.cuts import cuts, relations
from scan_core.evaluation.metrics import metrics_of
from scan_core.reporting.diagnosis import cut_figure, cut_table, load_cuts
from scan_core.vocabulary.classes import builtin_class_lists, load_class_list

# sky, grass; car, dog, puppy. A puppy is a dog, and sky and grass are called each other's.
CLASSES = replace(
    load_class_list("voc_20"),
    names=("sky", "grass", "car", "dog", "puppy"), raw_ids=tuple(range(5)),
    seen=(True, True, True, True, False), things=(False, False, True, True, True),
    parents={0: (1,), 1: (0,), 4: (3,)},
)  # fmt: skip
# Prediction, truth, pixels (5: no ground truth): two images of 1000 pixels.
IMAGES = [
    [(0, 0, 800), (1, 0, 100), (3, 4, 2), (4, 4, 0), (2, 2, 18), (0, 5, 80)],
    [(1, 1, 900), (2, 3, 10), (3, 4, 30), (0, 4, 30), (4, 2, 5), (4, 3, 25)],
]


def _counts(images, classes=5):
    rows = []
    for image in images:
        cells = [(prediction * (classes + 1) + truth, n) for prediction, truth, n in image if n]
        rows.append(tuple(np.array(sorted(cells)).T))
    return image_counts(rows, classes)


def _found(by_band=(), classes=CLASSES):
    parts = cuts(_counts(IMAGES), dict(by_band), classes)
    return {(part["cut"], part["part"]): part for part in parts}


def test_stuff_and_things_sizes_and_confusions_of_a_known_case():
    found, all_pixels = _found(), 1920
    right = {"stuff": (1700, 1800), "things": (18, 120)}
    # Of 1000 pixels an image: small below 3.33, medium below 30, large from 30 on.
    right |= {"small": (0, 2), "medium": (18, 23), "large": (1700, 1895)}
    sizes = {"medium": (18, 18 + 5), "large": (1700, 900 + 900 + 35 + 60)}
    assert right | sizes == right
    for (cut, name), part in found.items():
        if cut != "confusion":
            hits, truth = right[name]
            assert part["share"] == pytest.approx(truth / all_pixels), name
            assert part["metrics"]["pacc"] == pytest.approx(hits / truth), name
            assert part["metrics"]["lost"] == pytest.approx((truth - hits) / all_pixels), name
    lost = {name: part["metrics"]["lost"] for (cut, name), part in found.items()}
    pixels = {"synonym": 100, "parent": 32, "child": 25, "unseen_as_seen": 30, "seen_as_unseen": 5}
    for kind, wrong in {**pixels, "other": 10}.items():
        assert lost[kind] == pytest.approx(wrong / all_pixels), kind
    missing = 1 - metrics_of(_counts(IMAGES), CLASSES)["pacc"]
    for cut in ("class", "size", "confusion"):
        assert sum(p["metrics"]["lost"] for (c, _), p in found.items() if c == cut) == (
            pytest.approx(missing)
        )
    # IoU of sky: 800 of 900 + 30; of grass: 900 of 900 + 100.
    miou = found["class", "stuff"]["metrics"]["miou"]
    assert miou == pytest.approx((800 / 930 + 900 / 1000) / 2)
    low, high = found["size", "large"]["intervals"]["pacc"]
    assert (low, high) == pytest.approx((800 / 900, 900 / 995)), "either image twice"


def test_pixels_are_counted_by_their_distance_from_a_boundary():
    """100 rows and 300 columns: a diagonal of 316, bands of 2 and 6 pixels."""
    truth = np.zeros((100, 300), np.int32)
    truth[:, 150:] = 3
    truth[:20, 290:] = -1  # a boundary too
    found = bands(truth)
    assert np.flatnonzero(found["near"][60]).tolist() == [148, 149, 150, 151]
    assert np.flatnonzero(found["middle"][60]).tolist() == [*range(144, 148), *range(152, 156)]
    assert found["near"][21, 295]
    assert not (found["near"] & found["middle"]).any()
    assert not any(band.any() for band in bands(np.zeros((9, 9), np.int32)).values())

    near = _counts([[(1, 0, 60), (0, 0, 40)], [(1, 1, 100)]])
    found = _found({"near": near, "middle": csr_array(near.shape, dtype=np.int32)})
    assert found["distance", "near"]["metrics"]["pacc"] == pytest.approx(140 / 200)
    assert found["distance", "near"]["metrics"]["miou"] == pytest.approx((0.4 + 100 / 160) / 2)
    assert found["distance", "middle"]["metrics"]["pacc"] is None
    assert found["distance", "far"]["metrics"]["pacc"] == pytest.approx((1718 - 140) / 1720)


def test_a_list_that_does_not_say_has_no_such_cut():
    plain = replace(CLASSES, seen=None, things=None, parents={})
    assert {cut for cut, _ in _found(classes=plain)} == {"size"}
    for name in builtin_class_lists():
        pairs = sum(kind.astype(int) for kind in relations(load_class_list(name)).values())
        assert (pairs == 1 - np.eye(len(pairs), dtype=int)).all(), "each confusion has one kind"
    assert sum(load_class_list("ade20k_150").things) == 100
    assert sum(load_class_list("coco_stuff_171").things) == 80


def test_cuts_are_shown(tmp_path):
    path = tmp_path / "metrics.json"
    record = {"benchmark": "five", "recipe": "mini", "cuts": [*_found().values()]}
    path.write_text(json.dumps(record))
    table = cut_table(load_cuts([path]))
    row = table.cells.set_index("pixels").loc["large, from 3 % on"]
    assert row["pAcc"] == "89.71 [88.9, 90.5]"
    bars = cut_figure(load_cuts([path]), "five").axes[0].patches
    assert sum(bar.get_width() for bar in bars) == pytest.approx(3 * 100 * 202 / 1920)
