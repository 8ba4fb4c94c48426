"""Weights from files in place of trainings: the plan, the results, and what is refused."""

import copy
from pathlib import Path

import pytest
import torch
from project import BENCHMARKS, Project, reduced

from scan_core.inference.scan import Scan
from scan_core.models.released_names import (
    FINETUNED_CLIP,
    SCAN,
    released_constants,
    to_theirs,
)
from scan_core.params.grid import cell_of

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
        params["recipes"]["released"] = copy.deepcopy(RELEASED)
        params["recipes"]["one"] = {"extends": "released", "inference": {"benchmarks": BENCHMARKS[:1]}}
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


