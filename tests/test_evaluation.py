"""Evaluation of a benchmark: shards, test-time augmentation, predictions."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from parity_pack import image
from PIL import Image
from small_models import settings, small_scan

from scan_core.command.stopping import Interrupted
from scan_core.datasets.index import BenchmarkIndex, Sample, Split
from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.evaluation.confusion import ConfusionMatrix
from scan_core.evaluation.evaluator import Shard, evaluate
from scan_core.evaluation.merging import merge_shards, numbers_of, save_shard
from scan_core.evaluation.predictions import count_predictions
from scan_core.evaluation.settings_file import EvaluationSettings
from scan_core.evaluation.shard import ShardJob, count_shard
from scan_core.evaluation.unfinished import UnfinishedShard
from scan_core.params.classifiers import classifier_settings
from scan_core.vocabulary.classes import load_class_list

SETTINGS = settings()
SIZES = [(90, 120), (64, 100), (80, 80)]


@pytest.fixture(scope="module")
def scan():
    return small_scan(SETTINGS)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three images of VOC-20b with random label maps."""
    folder = tmp_path_factory.mktemp("benchmark")
    classes = load_class_list("voc_20b")
    samples = []
    for number, (height, width) in enumerate(SIZES):
        pixels = image(number, height, width).transpose(1, 2, 0)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        label = np.random.default_rng(number).integers(0, 22, (height, width), dtype=np.uint8)
        label[label == 21] = 255
        Image.fromarray(label).save(folder / f"{number}.label.png")
        samples.append(Sample(str(number), f"{number}.png", f"{number}.label.png", width, height))
    split = Split(".", ".", tuple(samples), {})
    index = BenchmarkIndex("mine", "pascal_voc", "voc_20b", classes.names, 255, {"val": split})
    index.save(folder / "index.json")
    return BenchmarkImages(folder / "index.json", "val")


WHOLE = Shard()
WAYS_ALONE = EvaluationSettings.of_ways(SETTINGS)


@pytest.mark.parametrize("kind", ["png", "coco_rle"])
def test_scoring_the_written_predictions_gives_the_same_counts(scan, images, tmp_path, kind):
    """Also on VOC-20b, which is predicted with more classes than it is scored by."""
    shown = {way: way for way in classifier_settings(SETTINGS)}
    matrices, _ = _evaluate(scan, images, predictions=tmp_path, shown=shown, prediction_format=kind)
    for way, matrix in matrices.items():
        found = tmp_path / way if kind == "png" else tmp_path / f"{way}.json"
        counts = count_predictions(images, load_class_list("voc_20b"), found, "training")
        np.testing.assert_array_equal(counts, matrix.counts())


def _evaluate(scan, images, shard=WHOLE, one=SETTINGS, **options):
    classes = load_class_list("voc_20b")
    return evaluate(scan, images, classes, classifier_settings(one), shard, **options)


def _save(path, counts, images=1):
    save_shard(path, counts, {"images": images}, json.dumps(WAYS_ALONE.as_dict()))


def test_shards_add_up_to_the_whole(scan, images, tmp_path):
    whole, timing = _evaluate(scan, images, chance=True)
    assert timing["images"] == 3
    assert set(whole) == {"combined", "in_vocabulary", "clip_only", "chance"}
    for number in range(2):
        matrices, shard_timing = _evaluate(scan, images, Shard(number, 2), chance=True)
        counts = {label: matrix.counts() for label, matrix in matrices.items()}
        _save(tmp_path / f"{number}.npz", counts, shard_timing["images"])
    merged = merge_shards([tmp_path / "0.npz", tmp_path / "1.npz"])
    assert merged.timing["images"] == 3
    assert merged.settings == WAYS_ALONE
    pixels = sum(height * width for height, width in SIZES)
    for label, matrix in whole.items():
        assert np.array_equal(matrix.counts(), merged.counts[label])
        assert matrix.counts().sum() == pixels
    assert (whole["combined"].counts() != whole["clip_only"].counts()).any()


def test_predictions_are_what_is_counted(scan, images, tmp_path):
    matrices, _ = _evaluate(
        scan, images, predictions=tmp_path, shown={"combined": "combined"}, most_predictions=2
    )
    assert sorted(p.name for p in (tmp_path / "combined").iterdir()) == ["0.png", "1.png"]
    counted = ConfusionMatrix(21)
    for number in range(2):
        predicted = np.array(Image.open(tmp_path / "combined" / f"{number}.png"))
        counted.add(torch.from_numpy(predicted), torch.from_numpy(images.label(number)))
    third, _ = _evaluate(scan, images, Shard(2, 3))
    both = counted.counts() + third["combined"].counts()
    assert np.array_equal(both, matrices["combined"].counts())


def test_test_time_augmentation(scan, images):
    """Several views are another result, and the mirror is undone."""
    plain, _ = _evaluate(scan, images)
    both, _ = _evaluate(scan, images, one=replace(SETTINGS, flip=True, scales=(1.0, 1.5)))
    assert not np.array_equal(plain["combined"].counts(), both["combined"].counts())
    agree = []
    for one in (SETTINGS, replace(SETTINGS, flip=True)):
        matrices, _ = _evaluate(scan, images, Shard(0, 3), one)
        agree.append(matrices["combined"].counts().sum(1) / (90 * 120))
    assert np.abs(agree[0] - agree[1]).sum() < 1.0, "mostly the same classes"


def test_metrics_have_no_nan(scan, images):
    numbers = numbers_of(
        _evaluate(scan, images)[0]["combined"].counts(), load_class_list("voc_20b")
    )
    assert numbers["miou_seen"] is None
    assert 0 <= numbers["miou"] <= 1


def test_without_ground_truth_there_is_no_number(tmp_path):
    """Predictions of every class, and not one pixel to compare them with."""
    counts = np.zeros((4, 4), np.int64)
    counts[:, 3] = 100
    _save(tmp_path / "0.npz", {"combined": counts})
    with pytest.raises(InputError, match=r"no pixel of \d images has ground truth"):
        merge_shards([tmp_path / "0.npz"])


def test_names_that_are_one_to_the_tokenizer_are_refused(scan):
    for names in (["sea", "Sea"], ["t-shirt", "\u201cx\u201d", '"x"']):
        with pytest.raises(InputError, match="are the same to CLIP's tokenizer"):
            scan.embed(names)


def test_names_are_compared_also_where_they_are_known(scan):
    """One by one each is right; together they are two classes with one name."""
    scan.embed(["sea"])
    scan.embed(["Sea"])
    with pytest.raises(InputError, match="are the same to CLIP's tokenizer"):
        scan.embed(["sea", "Sea"])


def test_the_memory_of_names_is_bounded(scan, monkeypatch):
    monkeypatch.setattr("scan_core.models.text_features.MOST_KNOWN", 3)
    first = scan.embed(["sky", "sea", "sand"])
    scan.embed(["sky"])
    scan.embed(["grass"])
    assert list(scan.text_encoder._known) == ["sand", "sky", "grass"], "the longest unused goes"
    names = [f"thing {number}" for number in range(5)]
    assert len(scan.embed(names)) == 6, "a request has all of its own"
    assert torch.equal(scan.embed(["sky", "sea", "sand"]), first)


def test_damaged_shards_are_named(tmp_path):
    (tmp_path / "0.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match=r"0\.npz cannot be read"):
        merge_shards([tmp_path / "0.npz"])
    _save(tmp_path / "1.npz", {"combined": ConfusionMatrix(3).counts()})
    _save(tmp_path / "2.npz", {"other": ConfusionMatrix(3).counts()})
    with pytest.raises(InputError, match="other settings"):
        merge_shards([tmp_path / "1.npz", tmp_path / "2.npz"])
    _save(tmp_path / "3.npz", {"combined": ConfusionMatrix(4).counts()})
    with pytest.raises(InputError, match=r"3\.npz has another number of classes"):
        merge_shards([tmp_path / "1.npz", tmp_path / "3.npz"])


def test_new_settings_are_all_that_is_evaluated(scan, images, tmp_path, monkeypatch):
    """A further grid evaluates its own settings; other code evaluates everything again."""
    scan.save(tmp_path / "model.safetensors")
    counted = []
    monkeypatch.setattr(
        "scan_core.evaluation.shard.evaluate",
        lambda *given: counted.append(sorted(given[3])) or evaluate(*given),
    )

    def shard(name, *others, code="a"):
        wanted = {one.key: one for one in (*WAYS_ALONE.settings.values(), *others)}
        job = ShardJob(
            *(tmp_path / "model.safetensors", images.index_file, "val", "voc_20b"),
            *(Shard(0, 2), True, True, "png", 1, code),
        )
        return count_shard(
            job, EvaluationSettings(WAYS_ALONE.ways, wanted), tmp_path / "evaluated",
            tmp_path / name, "cpu", None,
        )  # fmt: skip

    kept, new = shard("first.npz")
    assert (new, len(counted)) == (3, 1)
    assert [path.name for path in (kept / "clip_only").iterdir()] == ["0.png"]
    other = settings(0.8, 0.3)
    assert shard("second.npz", other)[1] == 1
    assert counted[1:] == [[other.key]]
    assert shard("third.npz", other)[1] == 0
    first, third = (merge_shards([tmp_path / f"{n}.npz"]) for n in ("first", "third"))
    alone, _ = _evaluate(scan, images, Shard(0, 2), other)
    assert np.array_equal(third.counts[other.key], alone["combined"].counts())
    for label, counts in first.counts.items():
        assert np.array_equal(counts, third.counts[label])
    next((tmp_path / "evaluated").rglob(f"{other.key}.npz")).write_bytes(b"cut")
    assert shard("fourth.npz", other)[1] == 1, "what is damaged is evaluated again"
    assert shard("fifth.npz", other, code="b")[1] == 4


class _Slow:
    """A clock by which every image takes 20 seconds, and images of which one ends the process."""

    def __init__(self, images, dies_at):
        self.images, self.dies_at, self.seconds = images, dies_at, 0.0

    def __len__(self):
        return len(self.images)

    def __getattr__(self, name):
        return getattr(self.images, name)

    def label(self, number):
        self.seconds += 20
        if number == self.dies_at:
            raise KeyboardInterrupt  # as suddenly as a kill: nobody puts anything away
        return self.images.label(number)


def test_a_kill_costs_less_than_a_minute(scan, images, tmp_path, monkeypatch):
    slow = _Slow(images, dies_at=2)
    monkeypatch.setattr("scan_core.evaluation.unfinished.time.monotonic", lambda: slow.seconds)
    path = tmp_path / "unfinished.npz"
    with pytest.raises(KeyboardInterrupt):
        _evaluate(scan, slow, unfinished=UnfinishedShard(path, saved_at=0.0), workers=0)
    slow.dies_at, before = None, slow.seconds
    whole, _ = _evaluate(scan, images)
    again, _ = _evaluate(scan, slow, unfinished=UnfinishedShard(path, saved_at=0.0), workers=0)
    assert slow.seconds - before == 20, "of the third image alone: after 40 s two were kept"
    assert np.array_equal(again["combined"].counts(), whole["combined"].counts())


class _Asking:
    """Images that send a signal to stop once, when one of them is read."""

    def __init__(self, images, at):
        self.images, self.at = images, at

    def __len__(self):
        return len(self.images)

    def __getattr__(self, name):
        return getattr(self.images, name)

    def label(self, number):
        if number == self.at:
            self.at = None
            os.kill(os.getpid(), signal.SIGUSR1)
        return self.images.label(number)


@pytest.mark.parametrize("kind", ["png", "coco_rle"])
def test_an_evaluation_that_is_stopped_continues_with_the_next_image(scan, images, tmp_path, kind):
    shown = {"combined": "combined"}
    whole, _ = _evaluate(
        scan, images, predictions=tmp_path / "whole", shown=shown, prediction_format=kind
    )

    def stopped(asking):
        return _evaluate(
            scan, asking, predictions=tmp_path / "stopped", shown=shown, prediction_format=kind,
            unfinished=UnfinishedShard(tmp_path / "unfinished.npz"), workers=0,
        )  # fmt: skip

    asking = _Asking(images, at=1)
    with pytest.raises(Interrupted, match="138"):
        stopped(asking)
    assert UnfinishedShard(tmp_path / "unfinished.npz").exists
    again, timing = stopped(asking)
    assert timing["images"] == len(images)
    for label, matrix in whole.items():
        assert (again[label].counts() == matrix.counts()).all()
    made = sorted(p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*.*"))
    assert made
    for path in made:
        assert (tmp_path / "whole" / path).read_bytes() == (
            tmp_path / "stopped" / path
        ).read_bytes()
