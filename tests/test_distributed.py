"""Several processes, with gloo on CPUs: the course of a training is that of one process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from scan_core.datasets.loading import BenchmarkImages
from scan_core.models.build import architecture_of
from scan_core.models.clip import build_clip
from scan_core.models.dropout import DropPath, SampleDropout, sample_noise
from scan_core.models.mask_decoder import Proposals
from scan_core.params.reading import read_params
from scan_core.params.recipe_part import model_part, segmenter_part, write_part
from scan_core.params.schema.recipe import Recipe
from scan_core.storage.weights import load_tensors, save_tensors
from scan_core.training.criterion import PointDraws, SetCriterion, Target, draw_points
from scan_core.training.mining import as_line, mask_text_pair

ROOT = Path(__file__).parents[1]
# With a larger one, AdamW makes large differences of small ones within few steps.
LEARNING_RATE = 1e-4


def test_the_losses_of_a_steps_parts_have_the_mean_of_the_whole():
    """Two parts of unlike many masks: each is divided by what the whole step has."""
    torch.manual_seed(0)
    logits, masks = torch.randn(3, 4, 8, 6), [1, 5, 0, 2]
    proposals = (torch.randn(3, 4, 8, 4), torch.randn(4, 4, 10, 14))
    targets = [
        Target(torch.randint(5, (count,)), torch.rand(count, 40, 56) < 0.4) for count in masks
    ]
    draws = [draw_points(torch.rand, 3, 1, count, 50, 3, 0.75) for count in masks]
    criterion = SetCriterion(2, 5, 4, 0.1, 50)

    def loss(images: slice, mean_masks: float | None):
        joined = PointDraws(*(torch.cat(p, 1) for p in zip(*draws[images], strict=True)))
        shown = Proposals(torch.empty(0), proposals[0][:, images], proposals[1][images])
        return criterion(logits[:, images], shown, targets[images], joined, mean_masks).total

    whole = loss(slice(0, 4), None)
    parts = [loss(slice(0, 2), sum(masks) / 2), loss(slice(2, 4), sum(masks) / 2)]
    torch.testing.assert_close(sum(parts) / 2, whole)
    alone = [loss(slice(0, 2), None), loss(slice(2, 4), None)]
    assert abs(sum(alone) / 2 - whole) > 0.01, "what normalising each part by itself would give"


def test_the_noise_of_an_image_does_not_depend_on_its_neighbours():
    layers = torch.nn.Sequential(SampleDropout(0.4), DropPath(0.3)).train()
    images = torch.ones(3, 50, 8)

    def noisy(*numbers: int) -> torch.Tensor:
        with sample_noise(layers, [torch.Generator().manual_seed(n) for n in numbers]):
            return layers(images[list(numbers)])

    together = noisy(0, 1, 2)
    assert torch.equal(together, torch.cat([noisy(0), noisy(1), noisy(2)]))
    assert not torch.equal(together[0], together[1])
    whole = layers[1](torch.ones(1000, 2))
    assert torch.equal(whole[:, 0], whole[:, 1])
    assert whole.mean() == pytest.approx(1, abs=0.1)
    assert torch.equal(layers.eval()(images), images)


# Trainings of the small network


class Trainings:
    """Data, a CLIP and pairs, and trainings on them by the scripts of the rules."""

    def __init__(self, folder: Path):
        self.folder = folder
        document = read_params(ROOT / "params.yaml")["recipes"]["mini"]
        document["segmenter"]["training"] |= {
            **{"steps": 20, "batch_size": 4, "learning_rate": LEARNING_RATE},
            **{"warmup_steps": 2, "checkpoint_every": 5, "validate_every": 20},
        }
        document["clip_finetune"].update(epochs=10, batch_size=6)
        self.recipe = Recipe.model_validate(document)
        raw, benchmark = folder / "raw", folder / "benchmark"
        self._script(
            "generate_miniworld", "--layout", "coco", "--raw-root", raw, "--seed", 0,
            "--image-size", 64, "--images", "train=12", "val=4", "--output", folder / "raw.json",
        )  # fmt: skip
        self._script(
            "convert_benchmark", "--format", "coco_stuff",
            "--raw-root", raw, "--classes", "mini_coco_24",
            "--name", "mini", "--splits", "train", "val", "--output", benchmark,
        )  # fmt: skip
        self.index, self.clip = benchmark / "index.json", folder / "clip.safetensors"
        torch.manual_seed(0)
        architecture = architecture_of(self.recipe.segmenter, self.recipe.clip)["clip"]
        save_tensors(self.clip, build_clip(architecture).state_dict(), {})
        self.pairs = folder / "pairs.jsonl"
        self.pairs.write_text("".join(map(as_line, self._pairs())))
        (folder / "statistics.json").write_text("{}")

    def _pairs(self):
        images = BenchmarkImages(self.index, "train")
        for number in range(len(images)):
            label = images.label(number)
            for row in set(label[label >= 0].tolist()):
                noun, stem = images.index.names[row], images.stem(number)
                yield mask_text_pair(number, stem, noun, 0.5, 0, label == row)

    def _script(self, name: str, *arguments: object) -> None:
        command = [sys.executable, "-m", f"workflow_scripts.{name}", *map(str, arguments)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)

    def command(self, script: str, name: str, *options: str) -> list[str]:
        folder = self.folder / name
        command = [
            "--clip", self.clip, "--index", self.index, "--work", folder / "work",
            "--output", folder / "result.safetensors", "--metrics", folder / "metrics.jsonl",
        ]  # fmt: skip
        if script == "train_segmenter":
            part = segmenter_part(self.recipe)
        else:
            part = model_part(self.recipe)
            command += ["--pairs", self.pairs]
        command += ["--recipe-part", write_part(part, folder / "parts")]
        return [sys.executable, "-m", f"workflow_scripts.{script}", *map(str, command), *options]

    def run(self, *arguments: str) -> "Result":
        subprocess.run(
            self.command(*arguments), cwd=ROOT, check=True, capture_output=True, timeout=300
        )
        return Result(self.folder / arguments[1])


class Result:
    """Curve and weights."""

    def __init__(self, folder: Path):
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        self.rows = [json.loads(line) for line in lines]
        self.weights, _ = load_tensors(folder / "result.safetensors")

    def assert_like(self, other: "Result") -> None:
        assert len(self.rows) == len(other.rows)
        for ours, theirs in zip(self.rows, other.rows, strict=True):
            # A proposal of an untrained network may be matched otherwise for one bit.
            assert ours == pytest.approx(theirs, rel=5e-3, abs=1e-5)
        for name, weight in other.weights.items():
            difference = (self.weights[name] - weight).double().abs().mean()
            assert difference < LEARNING_RATE / 4, name


@pytest.fixture(scope="module")
def trainings(tmp_path_factory) -> Trainings:
    return Trainings(tmp_path_factory.mktemp("trainings"))


@pytest.fixture(scope="module")
def one(trainings) -> Result:
    return trainings.run("train_segmenter", "one")


@pytest.mark.slow
def test_two_processes_train_the_segmenter_as_one_does(trainings, one):
    trainings.run("train_segmenter", "two", "--devices", "2").assert_like(one)


@pytest.mark.slow
def test_all_processes_stop_at_a_signal_to_one_and_any_number_continues(trainings, one):
    """The signal goes to the second process; one process, in two micro-batches, goes on."""
    process = subprocess.Popen(
        trainings.command("train_segmenter", "stopped", "--devices", "2"),
        cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    checkpoint = trainings.folder / "stopped/work/checkpoint.pt"
    try:
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (second,) = (child for child in children if _is_second(child))
        os.kill(int(second), signal.SIGUSR1)
        _, log = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 128 + signal.SIGUSR1
    assert f"signal {signal.SIGUSR1.value}: stopped after step" in log
    assert not (trainings.folder / "stopped/result.safetensors").exists()
    step = torch.load(checkpoint, weights_only=True)["step"]
    assert 5 <= step < 20
    trainings.run("train_segmenter", "stopped", "--micro-batches", "2").assert_like(one)


def _is_second(process: str) -> bool:
    return b"LOCAL_RANK=1\0" in Path(f"/proc/{process}/environ").read_bytes()


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_finetune_clip_as_one_does(trainings):
    """Every crop has to find its noun among those of both processes."""
    one = trainings.run("finetune_clip", "clip_one")
    trainings.run("finetune_clip", "clip_two", "--devices", "2").assert_like(one)


@pytest.mark.slow
def test_a_segmenter_that_explodes_ends_in_all_processes_with_the_images_named(trainings):
    document = trainings.recipe.model_dump()
    document["segmenter"]["training"].update(learning_rate=1e25, warmup_steps=0)
    part = write_part(segmenter_part(Recipe.model_validate(document)), trainings.folder / "parts")
    command = trainings.command("train_segmenter", "exploded", "--devices", "2")
    command[command.index("--recipe-part") + 1] = str(part)
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 1, ran.stderr
    assert "is NaN or infinite" in ran.stderr
    exploded = json.loads((trainings.folder / "exploded/work/exploded.json").read_text())
    assert 1 <= exploded["step"] <= 3
    assert len(exploded["images"]) == 4, "those of both processes"
    assert not (trainings.folder / "exploded/work/checkpoint.pt").exists()
