"""Evaluation of a benchmark: shards, test-time augmentation, predictions."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from parity_pack import ARCHITECTURE, image, tiny_network
from PIL import Image

from scan_core.datasets.index import BenchmarkIndex, Sample, Split
from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.evaluation.confusion import ConfusionMatrix
from scan_core.evaluation.evaluator import Shard, evaluate, ways_to_classify
from scan_core.evaluation.merging import merge_shards, numbers_of, save_shard
from scan_core.evaluation.predictions import count_predictions
from scan_core.inference.ensemble import InferenceSettings
from scan_core.inference.scan import Scan
from scan_core.models.build import tokenizer_for
from scan_core.params.schema.released_defects import ReleasedDefects
from scan_core.vocabulary.classes import load_class_list

SETTINGS = InferenceSettings(mask_threshold=0.9, clip_weight=0.5, replace_ratio=0.1)
SIZES = [(90, 120), (64, 100), (80, 80)]


@pytest.fixture(scope="module")
def scan():
    header = {
        "architecture": ARCHITECTURE,
        "prompts": "single",
        "seed": 0,
        "defects": dict.fromkeys(ReleasedDefects.model_fields, False),
        "inference": {
            "settings": asdict(SETTINGS),
            "short_side": 64,
            "longest_side": 256,
            "replace_layers": [1],
            "logit_scale": 100.0,
            "crop_expansion": 1.0,
        },
    }
    return Scan(tiny_network(text_heads=False), tokenizer_for(ARCHITECTURE), header)


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


@pytest.mark.parametrize("kind", ["png", "coco_rle"])
def test_scoring_the_written_predictions_gives_the_same_counts(scan, images, tmp_path, kind):
    """Also on VOC-20b, which is predicted with more classes than it is scored by."""
    matrices, _ = _evaluate(scan, images, predictions=tmp_path, prediction_format=kind)
    for way, matrix in matrices.items():
        found = tmp_path / way if kind == "png" else tmp_path / f"{way}.json"
        counts = count_predictions(images, load_class_list("voc_20b"), found, "training")
        np.testing.assert_array_equal(counts, matrix.counts())


def _evaluate(scan, images, shard=WHOLE, **options):
    classes = load_class_list("voc_20b")
    return evaluate(scan, images, classes, ways_to_classify(SETTINGS), shard, **options)


def test_shards_add_up_to_the_whole(scan, images, tmp_path):
    whole, timing = _evaluate(scan, images, chance=True)
    assert timing["images"] == 3
    assert set(whole) == {"combined", "in_vocabulary", "clip_only", "chance"}
    for number in range(2):
        matrices, shard_timing = _evaluate(scan, images, Shard(number, 2), chance=True)
        counts = {label: matrix.counts() for label, matrix in matrices.items()}
        save_shard(tmp_path / f"{number}.npz", counts, shard_timing)
    merged, sums = merge_shards([tmp_path / "0.npz", tmp_path / "1.npz"])
    assert sums["images"] == 3
    pixels = sum(height * width for height, width in SIZES)
    for label, matrix in whole.items():
        assert np.array_equal(matrix.counts(), merged[label])
        assert matrix.counts().sum() == pixels
    assert (whole["combined"].counts() != whole["clip_only"].counts()).any()


def test_predictions_are_what_is_counted(scan, images, tmp_path):
    matrices, _ = _evaluate(scan, images, predictions=tmp_path, most_predictions=2)
    assert sorted(p.name for p in (tmp_path / "combined").iterdir()) == ["0.png", "1.png"]
    counted = ConfusionMatrix(21)
    for number in range(2):
        predicted = np.array(Image.open(tmp_path / "combined" / f"{number}.png"))
        counted.add(torch.from_numpy(predicted), torch.from_numpy(images.label(number)))
    third, _ = _evaluate(scan, images, Shard(2, 3))
    counted.merge([third["combined"]])
    assert np.array_equal(counted.counts(), matrices["combined"].counts())


def test_test_time_augmentation(scan, images):
    """One view alone is no augmentation; several are another result, and the mirror is undone."""
    plain, _ = _evaluate(scan, images)
    one, _ = _evaluate(scan, images, scales=[1.0], flip=False)
    assert np.array_equal(plain["combined"].counts(), one["combined"].counts())
    both, _ = _evaluate(scan, images, flip=True, scales=[1.0, 1.5])
    assert not np.array_equal(plain["combined"].counts(), both["combined"].counts())
    agree = []
    for views in ({}, {"flip": True}):
        matrices, _ = _evaluate(scan, images, Shard(0, 3), **views)
        agree.append(matrices["combined"].counts().sum(1) / (90 * 120))
    assert np.abs(agree[0] - agree[1]).sum() < 1.0, "mostly the same classes"


def test_metrics_have_no_nan(scan, images):
    numbers = numbers_of(
        _evaluate(scan, images)[0]["combined"].counts(), load_class_list("voc_20b")
    )
    assert numbers["miou_seen"] is None
    assert 0 <= numbers["miou"] <= 1


def test_damaged_shards_are_named(tmp_path):
    (tmp_path / "0.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match=r"0\.npz cannot be read"):
        merge_shards([tmp_path / "0.npz"])
    save_shard(tmp_path / "1.npz", {"combined": ConfusionMatrix(3).counts()}, {"images": 1})
    save_shard(tmp_path / "2.npz", {"other": ConfusionMatrix(3).counts()}, {"images": 1})
    with pytest.raises(InputError, match="other settings"):
        merge_shards([tmp_path / "1.npz", tmp_path / "2.npz"])
    save_shard(tmp_path / "3.npz", {"combined": ConfusionMatrix(4).counts()}, {"images": 1})
    with pytest.raises(InputError, match=r"3\.npz has another number of classes"):
        merge_shards([tmp_path / "1.npz", tmp_path / "3.npz"])
