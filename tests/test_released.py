"""Weights from files in place of trainings: the plan, the results, and what is refused."""

import contextlib
import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from project import BENCHMARKS, Project, reduced

from scan_core.datasets.loading import BenchmarkImages
from scan_core.inference.scan import Scan
from scan_core.models.checkpoints import import_foreign, load_network
from scan_core.models.released_names import (
    FINETUNED_CLIP,
    SCAN,
    released_constants,
    to_theirs,
)
from scan_core.params.settings import settings_table
from scan_core.storage.files import file_digest
from scan_core.vocabulary.classes import load_class_list

RELEASED = {
    "extends": "mini",
    "grids": ["ensemble_weight"],
    "clip": {"source": "scan:weights/SCAN.pth", "pretraining": None},
    "segmenter": {"source": "scan:weights/SCAN.pth"},
    "clip_finetune": {"source": "scan:weights/SCAN.pth"},
}
TRAININGS = {
    "clip_weights", "train_segmenter", "mine_shard", "mine_mask_text_pairs", "finetune_clip"
}  # fmt: skip


def released(project: Project, name: str = "mini") -> Scan:
    """Write SCAN.pth and CS_CLIP.pt of a recipe's architecture, with random weights."""
    torch.manual_seed(5)
    scan = Scan.from_recipe(project.params.recipes[name])
    with torch.no_grad():
        for tensor in scan.network.clip.visual.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.02 * torch.randn_like(tensor))  # as if fine-tuned
    weights = to_theirs(scan.network.state_dict(), SCAN)
    weights |= released_constants(weights, 24, 0.1)
    folder = project.folder / "weights"
    folder.mkdir(exist_ok=True)
    torch.save({"model": weights, "iteration": 119_999}, folder / "SCAN.pth")
    tuned = to_theirs(scan.network.state_dict(), FINETUNED_CLIP)
    tuned = {f"module.{n}": t for n, t in tuned.items() if n.startswith("clip_model.")}
    torch.save({"state_dict": tuned, "epoch": 10}, folder / "CS_CLIP.pt")
    return scan


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("released"))

    def change(params):
        reduced(params)
        params["recipes"]["released"] = released_recipe = copy.deepcopy(RELEASED)
        for block in ("clip", "segmenter", "clip_finetune"):
            released_recipe[block]["source"] = f"scan:{project.folder}/weights/SCAN.pth"
        params["recipes"]["one"] = {
            "extends": "released",
            "inference": {"benchmarks": BENCHMARKS[:1]},
        }
        params["recipes"]["fused"] = {
            "extends": "mini",
            "clip_finetune": {"source": "finetuned_clip:weights/CS_CLIP.pt"},
        }
        params["recipe"] = "released"

    project.edit(change)
    released(project)
    return project


def test_nothing_is_planned_but_the_evaluation(project):
    jobs = project.jobs("--", "all")
    assert not TRAININGS & jobs.keys()
    assert jobs["import_weights"] == 3
    assert jobs["convert_benchmark"] == len(BENCHMARKS)
    assert jobs["generate_miniworld"] == len(BENCHMARKS), "no layout of training images"
    one = project.jobs("--config", "recipe=one", "--", "all")
    assert not TRAININGS & one.keys()
    assert one["convert_benchmark"] == one["evaluate"] == one["generate_miniworld"] == 1


def test_with_a_published_fine_tuned_clip_the_segmenter_is_trained_alone(project):
    jobs = project.jobs("--config", "recipe=fused", "--", "all")
    assert jobs["train_segmenter"] == jobs["import_weights"] == jobs["clip_weights"] == 1
    assert not {"mine_shard", "mine_mask_text_pairs", "finetune_clip"} & jobs.keys()


@pytest.fixture(scope="module")
def evaluated(project) -> Project:
    ran = project.snakemake("--profile", "local", "--", "all")
    assert ran.returncode == 0, ran.stdout
    return project


def test_everything_is_made_and_the_class_maps_are_those_of_the_imported_model(evaluated):
    results = evaluated.folder / "results/released"
    made = ("tables/main.md", "figures/seen_unseen.png", "report.html", "mlflow.json")
    assert all((results / file).stat().st_size for file in made)
    scan = Scan.from_recipe(evaluated.recipe)
    import_foreign(scan.network, evaluated.folder / "weights/SCAN.pth", "scan")
    for name in BENCHMARKS:
        with contextlib.chdir(evaluated.folder):
            split = BenchmarkImages(Path(evaluated.benchmark(name)) / "index.json", "val")
            classes = load_class_list(evaluated.recipe.datasets.benchmarks[name].classes)
            settings = settings_table(evaluated.recipe).of(name)
            (evaluation,) = (results / "eval").glob(f"*/{name}-*/predictions/0/combined")
            shown = {path.stem: np.array(Image.open(path)) for path in evaluation.iterdir()}
            assert len(shown) == 8
            found = set()
            for sample, image in zip(split.samples, split, strict=True):
                expected = scan.segment(image.image, classes.names, settings).class_map
                assert np.array_equal(shown[sample.stem], expected)
                found |= set(np.unique(expected))
            assert len(found) > 2, "the weights tell regions apart"


def test_a_release_says_which_file_its_weights_come_from(evaluated):
    release = evaluated.folder / "results/released/release"
    _, header = load_network(release / "model.safetensors")
    digest = file_digest(evaluated.folder / "weights/SCAN.pth")
    file = {"kind": "scan", "file": "SCAN.pth", "sha256": digest}
    assert header["imported"] == dict.fromkeys(("clip", "segmenter", "finetuned_clip"), file)
    card = (release / "README.md").read_text()
    assert card.count(digest) == 3
