"""The ladder and the calibration on cases whose values are known, and a small model diagnosed."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from small_models import NAMES, SETTINGS, picture_of, tiny_scan
from torch.nn import functional as F

from scan_core.errors import InputError
from scan_core.evaluation.calibration import (
    BINS,
    CELLS,
    assigned,
    histogram,
    pixel_histogram,
    proposal_histogram,
    reliability,
)
from scan_core.evaluation.diagnosis import (
    NONE,
    among,
    better_scores,
    calibrate,
    candidates,
    diagnose,
    diagnose_in_parts,
    match,
    right_scores,
)
from scan_core.evaluation.evaluator import CountStore, evaluate
from scan_core.evaluation.ladder import LADDER, STEPS, TRUE_MASKS, calibrated, write_diagnosis
from scan_core.evaluation.metrics import metrics_of
from scan_core.inference.class_map import class_maps
from scan_core.reporting.diagnosis import (
    calibration_figure,
    ladder_figure,
    ladder_table,
    load_diagnosis,
    tuned_table,
)
from scan_core.tracking.runs import _diagnosed
from scan_core.vocabulary.classes import load_class_list

CLASSES = replace(
    load_class_list("voc_20"),
    names=tuple(NAMES), raw_ids=tuple(range(5)), seen=(True, True, True, False, False),
)  # fmt: skip
# Two rows of four pixels: left half of class 0, right half of class 2, one pixel without truth.
TRUTH = torch.tensor([[0, 0, 2, 2], [0, 0, 2, -1]])
PRESENT = torch.tensor([0, 2])
OWNERS = torch.arange(3)


def _masks():
    left = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0]])
    right = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1]])
    three = torch.tensor([[1.0, 1, 1, 0], [1, 0, 0, 0]])
    nothing, void = torch.full((2, 4), 0.4), torch.tensor([[0.0, 0, 0, 0], [0, 0, 0, 1]])
    return torch.stack([left, right, three, nothing, void])


def test_proposals_are_matched_with_the_truth():
    found = match(_masks(), PRESENT[:, None, None] == TRUTH, PRESENT)
    assert found.right.tolist() == [0, 2, 0, NONE, NONE]
    assert found.overlap.tolist() == pytest.approx([1, 1, 3 / 5, 0, 0])
    assert found.best.tolist() == [0, 1]


def test_the_better_classifier_is_taken_and_weights_stay():
    combined = torch.tensor([[0.1, 0.2, 0.0], [0.0, 0.1, 0.1], [0.2, 0.2, 0.1]])
    scores = {
        "combined": combined,
        "in_vocabulary": torch.tensor([[0.6, 0.2, 0.2], [0.0, 0.5, 0.4], [0.2, 0.1, 0.1]]),
        "clip_only": torch.tensor([[0.3, 0.3, 0.4], [0.2, 0.3, 0.5], [0.9, 0.0, 0.1]]),
    }
    better = better_scores(scores, torch.tensor([0, 2, NONE]), OWNERS)
    torch.testing.assert_close(better[0], 0.3 * torch.tensor([0.6, 0.2, 0.2]))
    torch.testing.assert_close(better[1], 0.2 * torch.tensor([0.2, 0.3, 0.5]))
    assert torch.equal(better[2], combined[2]), "it has no right class"
    # Names 1 and 2 are counted as one class: either of them is right.
    merged = better_scores(scores, torch.tensor([1, 1, 1]), torch.tensor([0, 1, 1]))
    torch.testing.assert_close(merged[1], 0.2 * torch.tensor([0, 5, 4]) / 9)


def test_the_right_class_takes_the_whole_weight():
    scores = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.0, 0.0], [0.1, 0.1, 0.1]])
    right = right_scores(scores, torch.tensor([2, 0, NONE]))
    torch.testing.assert_close(right, torch.tensor([[0, 0, 0.6], [0.4, 0, 0], [0, 0, 0]]))


@pytest.mark.parametrize("seed", range(20))
def test_the_steps_that_cannot_go_down_do_not(seed):
    """Right proposals stay right with the better classifier, right pixels with fewer classes."""
    rng = torch.Generator().manual_seed(seed)
    masks = torch.rand(12, 9, 11, generator=rng)
    truth = torch.randint(-1, 6, (9, 11), generator=rng)
    present = truth[truth >= 0].unique()
    scores = {
        name: torch.rand(12, 8, generator=rng).softmax(1)
        for name in ("in_vocabulary", "clip_only", "combined")
    }
    right = match(masks, truth == present[:, None, None], present).right
    better = better_scores(scores, right, torch.arange(8))
    for one in scores.values():
        was_right = (one.argmax(1) == right) & (right != NONE)
        assert (better.argmax(1) == right)[was_right].all()
    wide, narrow = class_maps(masks, [better, among(better, present, torch.arange(8))], (9, 11))
    was_right = (wide == truth) & (truth >= 0)
    assert (narrow == truth)[was_right].all()


class Pictures:
    """Three pictures, whose truth is of three classes; the last has none."""

    def __len__(self):
        return 3

    def image(self, number):
        return picture_of(40 + 8 * number, 56, seed=number)

    def label(self, number):
        rng = np.random.default_rng(number)
        small = rng.integers(0, 5, 3)[rng.integers(0, 3, (5 + number, 7))]
        label = np.kron(small, np.ones((8, 8), int)).astype(np.int32)
        label[:3] = -1
        return label if number < 2 else np.full_like(label, -1)

    def stem(self, number):
        return str(number)


@pytest.fixture(scope="module")
def whole():
    return diagnose(tiny_scan(), Pictures(), CLASSES, SETTINGS, range(3))


def test_a_model_is_diagnosed(tmp_path, whole):
    images = Pictures()
    as_evaluated = evaluate(tiny_scan(), images, CLASSES, {"one": SETTINGS}, range(3))["one"]
    assert (whole["as_it_is"] != as_evaluated).nnz == 0, "the first rung is the evaluation's"
    metrics = {rung: metrics_of(whole[rung], CLASSES) for rung in [*LADDER, *TRUE_MASKS]}
    assert metrics["present_classes"]["pacc"] >= metrics["better_classifier"]["pacc"]
    labelled = sum((images.label(number) >= 0).sum() for number in range(3))
    for name in ("combined", "in_vocabulary", "clip_only"):
        pixels = whole[f"calibration.{name}"].toarray().reshape(3, 2, -1)[:, 1]
        assert pixels.sum() == labelled
        assert pixels[2].sum() == 0

    sentence = write_diagnosis(tmp_path, whole, CLASSES, {"benchmark": "five"})
    record = json.loads((tmp_path / "diagnosis.json").read_text())
    missing = 1 - metrics["as_it_is"]["miou"]
    steps = [step["points"]["miou"][0] for step in record["steps"]]
    assert sum(steps) == pytest.approx(missing)
    assert sentence.startswith(f"Of {100 * missing:.1f} points of mIoU")
    assert all(name in sentence for name in STEPS.values())
    assert len((tmp_path / "ladder.csv").read_text().splitlines()) == 1 + len(metrics)
    for rung in record["ladder"]:
        low, high = rung["intervals"]["miou"]
        assert low <= rung["metrics"]["miou"] <= high or rung["metrics"]["miou"] in (0, 1)

    drawn = load_diagnosis(tmp_path / "diagnosis.json")
    axes = ladder_figure(drawn).axes
    assert [axis.get_ylabel().split("\n")[1] for axis in axes] == ["all classes", "seen", "unseen"]
    gains = [text.get_text().split("\n") for text in axes[0].texts]
    written = [float(gain[1].replace("−", "-")) for gain in gains if len(gain) == 2]
    assert written == pytest.approx([100 * step for step in steps], abs=0.051)
    assert len(calibration_figure(drawn).axes) == 6
    table = ladder_table([drawn])
    assert list(table.cells)[1:] == ["five"]
    assert table.cells["five"].str.contains("[", regex=False).all()
    numbers = _diagnosed({"five": tmp_path / "diagnosis.json"})
    assert numbers["five/diagnosis/as_it_is/miou"] == metrics["as_it_is"]["miou"]
    assert 0 <= numbers["five/calibration/combined/pixels/all/ece"] <= 1
    (tmp_path / "diagnosis.json").write_text("{}")
    with pytest.raises(InputError, match="is no diagnosis"):
        load_diagnosis(tmp_path / "diagnosis.json")


def test_clip_before_fine_tuning_is_asked_about_the_true_masks(whole):
    scan = tiny_scan()
    assert (whole["true_masks.original_clip"] != whole["true_masks.clip_only"]).nnz
    scan.network.clip.visual.load_state_dict(scan.network.original_clip.state_dict())
    found = diagnose(scan, Pictures(), CLASSES, SETTINGS, range(3))
    for rung in ("true_masks.original_clip", "true_masks.clip_only"):
        assert (found[rung] != whole["true_masks.original_clip"]).nnz == 0


def test_temperature_and_weight_are_calibrated():
    scan, images = tiny_scan(), Pictures()
    settings = candidates(scan, SETTINGS)
    counts = calibrate(scan, images, CLASSES, SETTINGS, range(3))
    some = dict([*settings.items()][:4])
    expected = evaluate(scan, images, CLASSES, some, range(3))
    assert all((counts[key] != expected[key]).nnz == 0 for key in some)
    found = calibrated(counts, settings, CLASSES)
    assert [one["name"] for one in found] == ["as it is", "best mIoU", "best calibrated"]
    own, accurate, sure = found
    assert own["clip_weight"] == SETTINGS.clip_weight
    assert accurate["miou"] == max(metrics_of(counts[key], CLASSES)["miou"] for key in settings)
    of_pixels = (reliability(counts[f"calibration.{k}"], "pixels", "all") for k in settings)
    assert sure["error"] == min(found["error"] for _, found in of_pixels)
    table = tuned_table({"tuned": found}).cells
    assert table["ECE"].tolist() == [f"{100 * one['error']:.2f}" for one in found]


def test_parts_that_are_joined_are_the_whole_and_are_kept(tmp_path, whole, monkeypatch):
    scan, asked = tiny_scan(), []
    encode = scan.encode
    monkeypatch.setattr(scan, "encode", lambda *given: asked.append(1) or encode(*given))
    monkeypatch.setattr("scan_core.evaluation.diagnosis.CHUNK", 2)
    for _ in range(2):
        found = diagnose_in_parts(scan, Pictures(), CLASSES, 0, CountStore(tmp_path, "x"))
        for label, counts in whole.items():
            assert (found[label] != counts).nnz == 0
    assert len(asked) == 3, "what was kept is not done again"


PROPOSALS = {"combined": [3, 2, 2, 3], "in_vocabulary": [0, 2, 2, 3], "clip_only": [3, 2, 2, 3]}
SEGMENTS = {"combined": [0, 1, 3], "in_vocabulary": [0, 0, 0], "clip_only": [0, 1, 2]}
SEGMENTS["original_clip"] = [0, 3, 2]


class Known:
    """A model of four exact proposals but one, whose classes are known for each classifier.

    The truth is a row of six pixels, [0, 1, 2, 0, 0, 1]; of four classes, 3 is not in the image.
    """

    image_encoder = SimpleNamespace(with_segments=lambda *given: given[2])
    original_image_encoder = SimpleNamespace(with_segments=lambda *_: torch.tensor(0))

    def embed(self, names, prompts):
        return torch.zeros(5, 2)

    def resize(self, *_):
        return torch.zeros(3, 1, 6)

    def encode(self, images, settings):
        areas = torch.tensor([[0], [1], [2], [3]]) == torch.tensor([0, 1, 2, 3, 3, 3])
        view = SimpleNamespace(embeddings=torch.zeros(4, 2))
        views = SimpleNamespace(views=[view], first=None, masks=lambda _: areas[:, None].float())
        return [views]

    def score(self, seen, text, settings):
        name = {0.0: "in_vocabulary", 1.0: "clip_only"}.get(settings.clip_weight, "combined")
        segments = isinstance(seen.views[0], torch.Tensor)
        name = "original_clip" if segments and seen.views[0].ndim == 0 else name
        chosen = torch.tensor((SEGMENTS if segments else PROPOSALS)[name])
        # Class 0 comes second everywhere.
        scores = 0.5 * F.one_hot(chosen, 4)
        return scores.index_add(1, torch.tensor([0]), torch.full((len(chosen), 1), 0.2))


def test_every_oracle_has_the_value_that_it_must_have():
    images = SimpleNamespace(
        image=lambda _: np.zeros((1, 6, 3), np.uint8),
        label=lambda _: np.array([[0, 1, 2, 0, 0, 1]], np.int32),
    )
    classes = replace(
        CLASSES, names=CLASSES.names[:4], raw_ids=CLASSES.raw_ids[:4], seen=CLASSES.seen[:4]
    )
    found = diagnose(Known(), images, classes, SETTINGS, [0])
    right = {name: 6 * metrics_of(found[name], classes)["pacc"] for name in [*LADDER, *TRUE_MASKS]}
    expected = {
        "as_it_is": 1,  # the third proposal
        "better_classifier": 2,  # the in-vocabulary classifier knows the first one
        "present_classes": 4,  # without class 3 the last one is of class 0
        "right_classes": 5,  # its third pixel is of another class
        "true_masks.combined": 5,
        "true_masks.in_vocabulary": 3,
        "true_masks.clip_only": 6,
        "true_masks.original_clip": 4,
    }
    assert right == pytest.approx(expected)


def test_confidences_are_counted():
    counts = histogram(
        torch.tensor([0.0, 0.5, 1.0, 1.0]),
        torch.tensor([False, True, True, False]),
        torch.tensor([True, True, True, False]),
    )
    assert counts.sum() == 4
    assert counts[1, 0, 0] == counts[1, 1, CELLS // 2] == counts[1, 1, -1] == counts[0, 0, -1] == 1
    scores = torch.tensor([[0.6, 0.1, 0.1], [0.1, 0.1, 0.2], [0.1, 0.8, 0.1]])
    owners, seen = torch.tensor([0, 1, 1]), torch.tensor([True, False])
    given = (torch.tensor([0, 1, 0]), torch.tensor([0.5, 0.9, 0.4]), owners, seen)
    counts = proposal_histogram(scores, *given)
    assert counts.sum() == 2, "the third overlaps too little"
    near = slice(int(0.75 * CELLS) - 1, int(0.75 * CELLS) + 1)  # a cell begins at 0.75
    assert counts[1, 1, near].sum() == counts[0, 1, near].sum() == 1
    masks = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    (found,) = class_maps(masks, [scores[:2]], (1, 2))
    truth = torch.tensor([[0, -1]])
    counts = pixel_histogram(masks, scores[:2], found, truth, owners, seen)
    assert counts[1, 1, near].sum() == counts.sum() == 1


def _counts(confidence, right):
    """Two images with the same proposals."""
    proposals = histogram(confidence, right, torch.ones(len(right), dtype=torch.bool))
    row = np.stack([proposals, 0 * proposals]).ravel()
    return csr_array(np.stack([row, row]))


def test_the_calibration_error_of_a_known_case():
    """Half at 0.7 of which 60 % are right, half at 0.9 of which all are: 0.1."""
    confidence = torch.tensor([0.7] * 10 + [0.9] * 10) + 0.5 / CELLS
    right = torch.tensor([True] * 6 + [False] * 4 + [True] * 10)
    for equal_mass in (False, True):
        table, found = reliability(_counts(confidence, right), "proposals", "all", equal_mass)
        assert found["error"] == pytest.approx(0.1, abs=1 / CELLS)
        assert found["interval"] == pytest.approx([found["error"]] * 2)
        assert found["count"] == 40
        assert found["accuracy"] == pytest.approx(0.8)
        assert table["share"].tolist() == [0.5, 0.5]
        assert table["accuracy"].tolist() == pytest.approx([0.6, 1])
    nothing = reliability(_counts(confidence, right), "proposals", "unseen")[1]
    assert nothing == dict.fromkeys(("error", "interval", "confidence", "accuracy")) | {"count": 0}


def test_bins_have_equal_width_or_mass():
    counts = np.random.default_rng(0).integers(0, 50, CELLS) * (np.arange(CELLS) > CELLS // 2)
    assert np.bincount(assigned(counts, equal_mass=False)).tolist() == [CELLS // BINS] * BINS
    mass = np.bincount(assigned(counts, equal_mass=True), counts)
    assert mass == pytest.approx([counts.sum() / BINS] * BINS, abs=50)
