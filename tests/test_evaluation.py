"""Evaluation of a benchmark: shards, kept counts, test-time augmentation, predictions."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from parity_pack import image
from raw_data import written
from small_models import settings, small_scan

from scan_core.errors import InputError
from scan_core.evaluation import evaluator
from scan_core.evaluation.counts import confusion_matrix, image_counts, joined, save_counts
from scan_core.evaluation.evaluator import CountStore, evaluate, evaluate_shard, store_identity
from scan_core.evaluation.predictions import count_predictions, export_predictions
from scan_core.evaluation.results import merge_shards
from scan_core.evaluation.settings_file import EvaluationSettings
from scan_core.params.classifiers import classifier_settings
from scan_core.params.command_line import Interrupted
from scan_core.vocabulary.classes import load_class_list

SETTINGS = settings()
SIZES = [(90, 120), (64, 100), (80, 80)]
CLASSES = load_class_list("voc_20b")
CLASSIFIERS = EvaluationSettings.of_classifiers(SETTINGS)


@pytest.fixture(scope="module")
def scan():
    return small_scan(SETTINGS)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three images of VOC-20b with random label maps, two of them in folders."""
    photos, labels = {}, {}
    for number, (stem, size) in enumerate(zip(("0", "a/1", "b/1"), SIZES, strict=True)):
        photos[stem] = image(number, *size).transpose(1, 2, 0)
        label = np.random.default_rng(number).integers(0, 22, size, dtype=np.uint8)
        labels[stem] = np.where(label == 21, np.uint8(255), label)
    return written(tmp_path_factory.mktemp("benchmark"), labels, CLASSES, photos)


def _evaluate(scan, images, numbers=range(3), one=SETTINGS, **options):
    return evaluate(scan, images, CLASSES, classifier_settings(one), numbers, **options)


def _same(one, other):
    return one.keys() == other.keys() and all((one[k] != other[k]).nnz == 0 for k in one)


def test_images_add_up_to_the_whole(scan, images):
    whole = _evaluate(scan, images, chance=True)
    assert set(whole) == {"combined", "in_vocabulary", "clip_only", "chance"}
    parts = [_evaluate(scan, images, numbers, chance=True) for numbers in ([0], [1, 2])]
    assert _same(joined(parts), whole)
    for counts in whole.values():
        pixels = [height * width for height, width in SIZES]
        assert counts.sum(axis=1).tolist() == pixels
    assert (whole["combined"] != whole["clip_only"]).nnz


def test_test_time_augmentation(scan, images):
    """Several views are another result, and the mirror is undone."""
    plain = _evaluate(scan, images)["combined"]
    both = _evaluate(scan, images, one=replace(SETTINGS, flip=True, scales=(1.0, 1.5)))["combined"]
    assert (plain != both).nnz
    flipped = _evaluate(scan, images, [0], replace(SETTINGS, flip=True))["combined"]
    shares = [confusion_matrix(c[:1]).sum(1) / (90 * 120) for c in (plain, flipped)]
    assert np.abs(shares[0] - shares[1]).sum() < 1.0, "mostly the same classes"


def _save(path, label="combined", classes=3, counts=((0,), (1,))):
    row = (np.array(counts[0]), np.array(counts[1]))
    about = {"timing": {"images": 1}, "settings": CLASSIFIERS.as_dict()}
    save_counts(path, {label: image_counts([row], classes)}, **about)
    return path


def test_shards_that_do_not_fit_are_named(tmp_path):
    (tmp_path / "0.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match=r"0\.npz cannot be read"):
        merge_shards([tmp_path / "0.npz"])
    first = _save(tmp_path / "1.npz")
    with pytest.raises(InputError, match="other settings"):
        merge_shards([first, _save(tmp_path / "2.npz", "other")])
    with pytest.raises(InputError, match=r"3\.npz has another number of classes"):
        merge_shards([first, _save(tmp_path / "3.npz", classes=4)])
    # Predictions of every class, and not one pixel to compare them with.
    nothing = _save(tmp_path / "4.npz", counts=((3, 7, 11), (5, 5, 5)))
    with pytest.raises(InputError, match="no pixel of 1 images has ground truth"):
        merge_shards([nothing])
    assert merge_shards([first]).settings == CLASSIFIERS


def test_names_that_are_one_to_the_tokenizer_are_refused(scan):
    """Also where they are known: one by one each is right."""
    scan.embed(["sea"])
    scan.embed(["Sea"])
    for names in (["sea", "Sea"], ["t-shirt", "\u201cx\u201d", '"x"']):
        with pytest.raises(InputError, match="are the same to CLIP's tokenizer"):
            scan.embed(names)


@pytest.fixture
def shard(scan, images, tmp_path, monkeypatch):
    """Evaluates all images in chunks of two, and says what it has evaluated."""
    monkeypatch.setattr(evaluator, "CHUNK", 2)
    scan.save(tmp_path / "model.safetensors")
    calls = []

    def recorded(*given):
        calls.append((sorted(given[3]), list(given[4])))
        return evaluate(*given)

    monkeypatch.setattr(evaluator, "evaluate", recorded)

    def run(*others, code="a", drawn=1):
        calls.clear()
        known = {one.key: one for one in (*CLASSIFIERS.settings.values(), *others)}
        wanted = EvaluationSettings(CLASSIFIERS.classifiers, known)
        identity = store_identity(tmp_path / "model.safetensors", images, CLASSES, code)
        store = CountStore(tmp_path / "evaluated", identity)
        counts, timing = evaluate_shard(
            scan, images, CLASSES, wanted, range(3), store, chance=True, drawn=drawn, workers=0
        )
        return counts, timing, store, list(calls)

    return run


def test_new_settings_are_all_that_is_evaluated(scan, images, shard, tmp_path):
    """A further grid evaluates its own settings; other code or weights evaluate everything."""
    first, timing, _, calls = shard()
    assert [numbers for _, numbers in calls] == [[0, 1], [2]]
    assert timing["counted"] == timing["images"] == 3
    other = settings(0.8, 0.3)
    second, _, _, calls = shard(other)
    assert calls == [([other.key], [0, 1]), ([other.key], [2])]
    alone = evaluate(scan, images, CLASSES, {other.key: other}, range(3))
    assert _same(second, {**first, **alone})
    third, timing, _, calls = shard(other)
    assert (calls, timing["counted"]) == ([], 0)
    assert _same(third, second)
    damaged = next((tmp_path / "evaluated").rglob("2-3.*.npz"))
    damaged.write_bytes(b"cut")
    again, _, _, calls = shard(other)
    assert [numbers for _, numbers in calls] == [[2]], "what is damaged is evaluated again"
    assert _same(again, second)
    assert len(shard(other, code="b")[3]) == 2
    assert len(list((tmp_path / "evaluated").iterdir())) == 1, "of one code and model"
    (tmp_path / "model.safetensors").write_bytes(b"a model of the same name")
    assert len(shard(other, code="b")[3]) == 2


def test_a_label_map_that_was_deleted_or_replaced_is_named(shard, images):
    """Also where the counts are kept."""
    shard()
    path = images.index_file.parent / "labels/b/1.png"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(InputError, match=r"b/1\.png is missing"):
        shard()
    path.write_bytes(content)


@pytest.mark.parametrize("kill", [True, False])
def test_an_evaluation_that_was_stopped_goes_on_with_the_chunk(shard, images, monkeypatch, kill):
    def label(number):
        if number == 2 and kill:
            raise KeyboardInterrupt  # as suddenly as a kill: nobody puts anything away
        if number == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        return whole(number)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt if kill else Interrupted):
        whole = images.label
        patch.setattr(images, "label", label)
        shard(drawn=3)
    counts, timing, store, calls = shard(drawn=3)
    assert [numbers for _, numbers in calls] == [[2]]
    assert timing["counted"] == 1
    assert _same(counts, shard(code="b")[0])
    assert len(list(store.folder.parent.rglob("*.png"))) == 3, "of the other code one is drawn"


@pytest.mark.parametrize("form", ["png", "coco_rle"])
def test_scoring_the_exported_predictions_gives_the_same_counts(shard, images, tmp_path, form):
    """Also on VOC-20b, predicted with more classes than it is scored by, and in folders."""
    counts, _, store, _ = shard(drawn=3)
    maps = {name: store.label_maps(key) for name, key in CLASSIFIERS.classifiers.items()}
    export_predictions(tmp_path / "out", maps, images, range(3), CLASSES, form)
    for name, key in CLASSIFIERS.classifiers.items():
        found = tmp_path / "out" / (name if form == "png" else f"{name}.json")
        counted = count_predictions(images, CLASSES, found, "training")["combined"]
        assert (counted != counts[key]).nnz == 0
