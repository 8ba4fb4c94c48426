"""Training: the same batches whatever the layout, and the same weights whatever happens."""

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from raw_data import written
from small_models import picture_of, tiny_scan
from torch.nn import functional as F

from scan_core.datasets.transforms import PADDING_VALUE, SegmenterAugmentation, ssd_color_jitter
from scan_core.errors import InputError
from scan_core.models.mask_decoder import Proposals
from scan_core.params.grid import cell_of, cells_of, changed
from scan_core.params.reading import read_params, validate
from scan_core.params.recipe_part import model_part, read_part, write_part
from scan_core.storage.weights import load_tensors
from scan_core.training.batches import micro_batches, sample_at, seeded
from scan_core.training.clip_finetune import PairOrder, rows_of_readers
from scan_core.training.clip_pretrain import contrastive_loss, multi_positive_loss
from scan_core.training.criterion import SetCriterion, Target, draw_points
from scan_core.training.loop import finish
from scan_core.training.mining import (
    Captioned,
    MaskTextPairs,
    as_line,
    caption_nouns,
    mask_text_pair,
    merge_pairs,
    mine_shard,
)
from scan_core.vocabulary.classes import load_class_list

ROOT = Path(__file__).parents[1]


# Order of samples


def test_every_sample_comes_once_in_every_epoch():
    epochs = [[sample_at(3, epoch * 10 + i, 10) for i in range(10)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert sample_at(3, 7, 10) == epochs[0][7]


@pytest.mark.parametrize(("processes", "micro"), [(1, 1), (2, 1), (1, 3), (2, 3)])
def test_a_step_has_the_same_samples_on_any_number_of_processes(processes, micro):
    for step in range(2):
        found = []
        for rank in range(processes):
            batches = micro_batches(5 + step, 12, rank, processes, micro)
            found += [p for _ in range(micro) for p in next(batches)]
        assert sorted(found) == list(range((5 + step) * 12, (6 + step) * 12))
    with pytest.raises(InputError, match="a batch of 12 cannot be split over 1 processes with 5"):
        next(micro_batches(0, 12, 0, 1, 5))


def test_seeded_generators_differ_by_every_part_of_the_key():
    cpu = torch.device("cpu")
    drawn = {torch.rand(1, generator=seeded(cpu, *key)).item() for key in [(0, 1), (1, 0), (0, 2)]}
    assert len(drawn) == 3


# Augmentation


def _augmentation(**changes):
    """The paper's, without what the changes do not ask for."""
    recipe = validate(read_params(ROOT / "params.yaml")).recipes["vitb16"]
    plain = {"max_category_share": 1.0, "color_jitter": False, "horizontal_flip": 0.0}
    return SegmenterAugmentation(**recipe.segmenter.augmentation.model_dump() | plain | changes)


def test_the_scales_are_those_of_the_release():
    assert _augmentation().short_sides == list(range(320, 1281, 64))


def test_image_and_label_stay_together():
    """Red where the label is 1, blue where it is 0: through scale, crop, flip and padding."""
    image = np.zeros((90, 150, 3), np.uint8)
    label = np.zeros((90, 150), np.int32)
    image[..., 2] = 255
    image[20:70, 30:90] = (255, 0, 0)
    label[20:70, 30:90] = 1
    label[:5] = -1
    augment = _augmentation(short_side=(48, 160), crop_size=128, horizontal_flip=0.5)
    sizes = set()
    for seed in range(20):
        sample = augment(image, label, np.random.default_rng(seed))
        assert sample.image.shape == (3, 128, 128)
        assert sample.label.shape == (128, 128)
        height, width = sample.size
        sizes.add(sample.size)
        assert (sample.label[height:] == -1).all()
        assert (sample.image[:, :, width:] == PADDING_VALUE).all()
        red = sample.image[0].float() - sample.image[2].float()
        assert (red[sample.label == 1] > 0).float().mean() > 0.97
        assert (red[sample.label == 0] < 0).float().mean() > 0.97
    assert len(sizes) > 5


def test_a_crop_of_one_class_is_drawn_again():
    label = np.zeros((400, 400), np.int32)
    label[:, 200:] = 1
    image = np.zeros((400, 400, 3), np.uint8)
    free = _augmentation(short_side=(400, 400), crop_size=120)
    bound = _augmentation(short_side=(400, 400), crop_size=120, max_category_share=0.75)

    def mixed(augment):
        samples = [augment(image, label, np.random.default_rng(seed)) for seed in range(30)]
        return sum(len(s.label.unique()) == 2 for s in samples)

    assert mixed(bound) > 1.5 * mixed(free)


def test_colours_move_and_stay_in_range():
    image = torch.randint(0, 256, (3, 20, 20), dtype=torch.uint8)
    changed = [ssd_color_jitter(image, np.random.default_rng(seed)) for seed in range(12)]
    assert all(c.dtype == torch.uint8 and c.shape == image.shape for c in changed)
    assert sum(not torch.equal(c, image) for c in changed) > 6


# Losses and nouns


def test_the_loss_of_different_texts_is_clips_own():
    torch.manual_seed(0)
    images, texts = (F.normalize(torch.randn(5, 8), dim=-1) for _ in range(2))
    scale = torch.tensor(9.0)
    owner = torch.tensor([3, 0, 4, 1, 2])
    ours = multi_positive_loss(images, texts[owner.argsort()], owner, scale)
    expected = contrastive_loss(images, texts[owner.argsort()][owner], scale)
    torch.testing.assert_close(ours, expected)


def test_two_pictures_of_one_word_do_not_push_each_other_away():
    text = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), dim=-1)
    images = text[[0, 0, 1]]
    scale = torch.tensor(50.0)
    shared = multi_positive_loss(images, text, torch.tensor([0, 0, 1]), scale)
    log_2 = float(torch.tensor(2.0).log())
    assert float(shared) == pytest.approx(log_2 / 4, abs=1e-6), "one text spreads over two pictures"
    assert float(contrastive_loss(images, images, scale)) == pytest.approx(2 * log_2 / 3, abs=1e-6)


@pytest.mark.parametrize(
    ("caption", "nouns"),
    [
        ("A man riding a wave on top of a surfboard.", ["man", "wave", "top", "surfboard"]),
        ("A picture of a red ball with a brick wall in the background.", ["ball", "brick wall"]),
        ("Two giraffes near some wooden benches.", ["giraffe", "bench"]),
        ("Running quickly!", []),
        ("", []),
    ],
)
def test_nouns_of_captions(caption, nouns):
    assert caption_nouns(caption) == nouns


@pytest.fixture
def images(tmp_path):
    """Five training images, which are not alike."""
    photos = {str(n): picture_of(64, 80, seed=n) for n in range(5)}
    labels = dict.fromkeys(photos, np.zeros((64, 80), np.uint8))
    return written(tmp_path / "benchmark", labels, load_class_list("voc_20"), photos, "train")


def test_pairs_are_the_same_for_any_number_of_shards(tmp_path, images):
    captions = {str(n): ["A sea and some sand." if n != 3 else "Oh, and so on!"] for n in range(5)}
    scan, merged = tiny_scan(), tmp_path / "pairs.jsonl"

    def mined(shards, said=captions):
        captioned = Captioned(images, said, 1, None)
        files = [tmp_path / f"{shards}.{shard}.jsonl" for shard in range(shards)]
        for shard, file in enumerate(files):
            mine_shard(scan, captioned, captioned.numbers(shard, shards), 20, 1, file)
        return merge_pairs(files, merged)

    counts, whole = mined(1), merged.read_bytes()
    assert (counts["pairs"], counts["images"], counts["nouns"]) == (8, 4, 2)
    pairs = MaskTextPairs(merged)
    assert pairs.images.tolist() == [0, 0, 1, 1, 2, 2, 4, 4]
    assert [pair.noun for pair in pairs][:2] == ["sea", "sand"]
    assert {pair.size for pair in pairs} == {(96, 120)}
    assert mined(3) == counts
    assert merged.read_bytes() == whole
    merged.unlink()
    with pytest.raises(InputError, match="no pair in any image"):
        mined(1, {"3": captions["3"]})
    assert not merged.exists()


def test_pairs_are_merged_and_read_without_holding_their_masks(tmp_path):
    """A million images with five captions each have 6 GB of masks."""
    rng = np.random.default_rng(0)
    with (tmp_path / "shard.jsonl").open("w") as file:
        for number in range(4000):
            noun, mask = f"noun {number % 7}", rng.random((60, 60)) < 0.5
            file.write(as_line(mask_text_pair(number // 5, "name", noun, 0.25, number, mask)))
    size = (tmp_path / "shard.jsonl").stat().st_size
    tracemalloc.start()
    counts = merge_pairs([tmp_path / "shard.jsonl"], tmp_path / "pairs.jsonl")
    pairs = MaskTextPairs(tmp_path / "pairs.jsonl")
    assert tracemalloc.get_traced_memory()[1] < size / 10
    tracemalloc.stop()
    assert (tmp_path / "pairs.jsonl").read_bytes() == (tmp_path / "shard.jsonl").read_bytes()
    assert (counts["pairs"], counts["images"], counts["mean_score"]) == (4000, 800, 0.25)
    assert len(pairs) == 4000
    assert all(pairs[n].query == n and pairs.images[n] == n // 5 for n in range(0, 4000, 97))
    assert [pairs.nouns[row] for row in pairs.noun_of[:9]] == [f"noun {n % 7}" for n in range(9)]
    with (tmp_path / "pairs.jsonl").open("a") as file:
        file.write('{"image": 3, "st')
    with pytest.raises(InputError, match=r"pairs\.jsonl are damaged.*mine again"):
        MaskTextPairs(tmp_path / "pairs.jsonl")


def test_the_pairs_of_an_image_follow_each_other_in_one_row_of_the_batch():
    images = [n for n in range(40) for _ in range(1 + n % 5)]
    order = PairOrder(images, 8, seed=1)
    seen = [order[position] for position in range(order.steps * 8)]
    assert len(set(seen)) == len(seen) == len(images) // 8 * 8, "each pair once, but a remainder"
    reads = 0
    for row in range(8):
        shown = [images[pair] for pair in seen[row::8]]
        changes = 1 + sum(a != b for a, b in pairwise(shown))
        assert len(set(shown)) == changes, "no image twice"
        reads += changes
    assert reads <= 40 + 7
    later = [order[position] for position in range(order.steps * 8, 2 * order.steps * 8)]
    assert later != seen
    assert PairOrder(images, 8, seed=2)[0] != seen[0] or PairOrder(images, 8, 2)[9] != seen[9]
    few = PairOrder([0, 0, 1], 8, seed=0)
    assert {few[position] for position in range(8)} == {0, 1, 2}


def test_a_row_always_falls_to_the_same_reader():
    for rank in range(2):
        parts = rows_of_readers(micro_batches(3, 12, rank, 2), readers=4)
        steps = [[next(parts) for _ in range(4)] for _ in range(3)]
        rows = [[[position % 12 for position in part] for part in step] for step in steps]
        assert rows[0] == rows[1] == rows[2]
        assert [p for part in steps[0] for p in part] == list(range(36 + rank, 48, 2))


# Stages and variants


def test_a_stage_depends_on_its_keys_alone(tmp_path):
    recipe = validate(read_params(ROOT / "params.yaml")).recipes["mini"]
    own = cell_of(recipe).names
    for key, value, others in (
        ("inference.short_side", 96, set()),
        ("segmenter.training.steps", 7, set(own) - {"clip"}),
        ("clip_finetune.epochs", 7, {"finetuned_clip", "model"}),
    ):
        names = cell_of(changed(recipe, {key: value})).names
        assert {stage for stage in own if names[stage] != own[stage]} == others
    assert read_part(write_part(model_part(recipe), tmp_path)) == model_part(recipe)
    (tmp_path / "damaged.json").write_text('{"seed": "zero"}')
    with pytest.raises(InputError, match=r"damaged\.json.*seed"):
        read_part(tmp_path / "damaged.json")


def test_cells_share_what_they_agree_in():
    checked = validate(read_params(ROOT / "params.yaml"))
    grids = checked.ablations
    components = cells_of(checked.recipes["mini"], grids["components"])
    assert _variants(components) == {
        "clip": 3, "segmenter": 6, "miner": 3, "pairs": 3, "finetuned_clip": 6, "model": 12
    }  # fmt: skip
    assert cell_of(checked.recipes["mini"]).names in [cell.names for cell in components]
    cells = cells_of(checked.recipes["mini"], grids["mini_low_frequency"])
    assert _variants(cells) == {
        "clip": 3, "segmenter": 15, "miner": 3, "pairs": 3, "finetuned_clip": 3, "model": 15
    }  # fmt: skip
    for cell in cells:
        assert cell.recipe.segmenter.training.steps == 120, "fixed for all cells"
        assert cell.mining_recipe.segmenter.training.steps == 120
        assert cell.mining_recipe.segmenter.semantic_integration.sigmas == [9, 7, 3]
    faithful = cells_of(checked.recipes["mini"], grids["mini_released_behaviour"])
    assert _variants(faithful)["finetuned_clip"] == 6, "faithful changes mining and fine-tuning too"


def _variants(cells):
    return {stage: len({cell.names[stage] for cell in cells}) for stage in cells[0].names}


# The loop


PROGRAM = """
import json, time
from itertools import count
from pathlib import Path
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from scan_core.params.command_line import run
from scan_core.storage.weights import save_tensors
from scan_core.training.batches import read_steps
from scan_core.training.loop import LoopSettings, Task, train

class Batch(NamedTuple):
    rows: torch.Tensor

class Read(torch.utils.data.Dataset):
    def __getitem__(self, step):
        return Batch(torch.randn(4, 6, generator=torch.Generator().manual_seed(step)))

class Toy(Task):
    def __init__(self, pause, explode):
        self.pause, self.explode = pause, explode
        torch.manual_seed(1)
        self.module = torch.nn.Sequential(
            torch.nn.Linear(6, 6), torch.nn.Dropout(0.5), torch.nn.Linear(6, 1)
        )
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=0.1)
    def learning_rate(self, step):
        return 0.01 / (1 + step)
    def batches(self, first_step):
        return read_steps(Read(), ([step] for step in count(first_step)), 1)
    def losses(self, module, batch, step, batches):
        time.sleep(self.pause)
        loss = module(batch.rows).square().mean()
        return {"loss": loss * (float("nan") if step == self.explode else 1.0)}
    def validate(self):
        return {"validation_miou": 0.5}
    def names(self, batch):
        return ["one", "two"]

def toy(work: Path, result: Path, pause: float, explode: int, identity: str) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    task = Toy(pause, explode)
    settings = LoopSettings(40, 1.0, checkpoint_every=7, validate_every=10, log_every=5)
    rows = []
    def record(step, values):
        rows.append({"step": step, **values})
    path = train(fabric, task, settings, work, {"of": identity}, record)
    assert path.read_text().endswith("".join(json.dumps(row) + chr(10) for row in rows))
    save_tensors(result, task.module.state_dict(), {})

run(toy)
"""


class Training:
    def __init__(self, folder, pause=0.0, explode=-1, identity="same"):
        self.work, self.result = folder / "work", folder / "result.safetensors"
        given = {"pause": pause, "explode": explode, "identity": identity}
        options = {"work": self.work, "result": self.result, **given}
        arguments = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        self.command = [sys.executable, "-c", PROGRAM, *arguments]

    def run(self, **environment):
        output = {"cwd": ROOT, "capture_output": True, "text": True}
        return subprocess.run(self.command, env={**os.environ, **environment}, **output)

    def start(self):
        """A training that has written its first checkpoint."""
        process = subprocess.Popen(
            self.command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        deadline = time.monotonic() + 60
        while not (self.work / "checkpoint.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return process

    def rows(self):
        return [json.loads(line) for line in (self.work / "metrics.jsonl").read_text().splitlines()]

    def assert_same(self, other):
        ours, theirs = load_tensors(self.result)[0], load_tensors(other.result)[0]
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
        assert self.rows() == other.rows()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    training = Training(tmp_path_factory.mktemp("undisturbed"))
    done = training.run()
    assert done.returncode == 0, done.stderr
    return training


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_stopped_training_ends_with_the_same_weights(tmp_path, undisturbed, how):
    """SIGTERM goes to all processes, those that read included, as when a machine is preempted."""
    training = Training(tmp_path, pause=0.15)
    process = training.start()
    time.sleep(0.4)
    (os.killpg if how == signal.SIGTERM else os.kill)(process.pid, how)
    _, log = process.communicate(timeout=60)
    assert process.returncode == (-how if how == signal.SIGKILL else 128 + how), log
    assert not training.result.exists()
    again = Training(tmp_path).run()
    assert again.returncode == 0, again.stderr
    assert "continuing after step" in again.stderr
    assert not list(training.work.glob(".*")), "what killed writers left"
    training.assert_same(undisturbed)


@pytest.mark.slow
def test_a_checkpoint_of_other_settings_is_not_continued(tmp_path, undisturbed):
    process = Training(tmp_path, pause=0.15, identity="other").start()
    process.kill()
    process.wait()
    again = Training(tmp_path, identity="same")
    assert "is of another of: training from the start" in again.run().stderr
    again.assert_same(undisturbed)


@pytest.mark.slow
def test_one_training_at_a_time_in_a_folder(tmp_path, undisturbed):
    """The second one waits, and then continues from what the first one has written."""
    first = Training(tmp_path, pause=0.15).start()
    second = Training(tmp_path)
    waiting = subprocess.Popen(second.command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    first.terminate()
    assert first.wait(timeout=60) == 128 + signal.SIGTERM
    assert "continuing after step" in waiting.communicate(timeout=60)[1]
    second.assert_same(undisturbed)


def test_a_loss_that_is_nan_stops_with_the_names_of_the_images(tmp_path):
    training = Training(tmp_path, explode=17)
    ran = training.run()
    assert ran.returncode == 1
    assert "the loss of step 17 is NaN or infinite" in ran.stderr
    exploded = json.loads((training.work / "exploded.json").read_text())
    assert exploded == {"step": 17, "images": ["one", "two"]}


@pytest.mark.slow
def test_a_long_folder_for_temporary_files_does_no_harm(tmp_path, undisturbed):
    """The path of a Unix socket, through which readers hand over batches, has 107 bytes at most."""
    long = tmp_path / ("long" * 25)
    long.mkdir()
    training = Training(tmp_path)
    ran = training.run(TMPDIR=str(long))
    assert ran.returncode == 0, ran.stderr
    training.assert_same(undisturbed)


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_is_named_with_what_to_do(tmp_path):
    training = Training(tmp_path, pause=0.15)
    process = training.start()
    process.kill()
    process.wait()
    path = training.work / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    state["module"]["0.weight"] = torch.zeros(3, 3)
    torch.save(state, path)
    ran = training.run()
    assert ran.returncode == 1
    assert f"{path} does not fit this training" in ran.stderr
    assert "size mismatch for 0.weight" in ran.stderr
    path.write_bytes(path.read_bytes()[:1000])
    ran = training.run()
    assert f"{path} " in ran.stderr
    assert "delete it to train from the start" in ran.stderr


def test_finishing_removes_only_what_training_wrote(tmp_path):
    for name in ("checkpoint.pt", "metrics.jsonl", "segmenter.safetensors"):
        (tmp_path / name).touch()
    finish(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["segmenter.safetensors"]
    (tmp_path / "segmenter.safetensors").unlink()
    finish(tmp_path)
    assert not tmp_path.exists()


def test_proposals_that_are_nan_explode_the_loss_even_where_they_match_nothing():
    torch.manual_seed(0)
    logits, embeddings = torch.randn(2, 1, 5, 4), torch.randn(2, 1, 5, 3)
    features = torch.randn(1, 3, 8, 8)
    targets = [Target(torch.tensor([1, 2]), torch.rand(2, 16, 16) < 0.5)]
    draws = draw_points(torch.rand, 2, 1, 2, 20, 3, 0.75)
    criterion = SetCriterion(2, 5, 5, 0.1, 20)

    def loss():
        return criterion(logits, Proposals(torch.empty(0), embeddings, features), targets, draws)

    assert loss().total.isfinite()
    for query in range(5):
        embeddings[:, :, query] = torch.nan
        assert loss().total.isnan(), "and nothing raises: the other processes would wait for ever"
        embeddings[:, :, query] = 0.0
