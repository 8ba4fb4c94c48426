"""The guide to a benchmark of one's own, followed word by word."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from documented import ROOT, commands, shown_files
from PIL import Image
from pycocotools.coco import COCO
from test_scan import _scan
from test_workflow import Project

from scan_core.datasets.miniworld.concepts import stuff_id
from scan_core.datasets.miniworld.scenes import draw_scene

GUIDE = ROOT / "docs/own_data.md"
STEMS = ("one", "two", "three")
CLASSES = ("sky", "sea", "sand", "grass", "hedge")

pytestmark = pytest.mark.slow


def _write_images(raw: Path) -> None:
    """Step 1 of the guide."""
    folder = raw / "ADEChallengeData2016"
    for kind in ("images", "annotations"):
        (folder / kind / "validation").mkdir(parents=True)
    for number, stem in enumerate(STEMS):
        scene = draw_scene((1, 2), number, 96)
        values = np.zeros(scene.concepts.shape, np.uint8)
        for value, name in enumerate(CLASSES, start=1):
            values[scene.concepts == stuff_id(name)] = value
        Image.fromarray(scene.pixels).save(folder / f"images/validation/{stem}.jpg", quality=95)
        Image.fromarray(values).save(folder / f"annotations/validation/{stem}.png")


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("own"))
    model = project.folder / "results/mini/release/model.safetensors"
    _scan().save(model)
    _write_images(project.folder / "own/raw")
    for name, text in shown_files(GUIDE).items():
        if name.startswith("own/"):
            (project.folder / name).write_text(text)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command in commands(GUIDE):
        if command.startswith("python"):
            ran = subprocess.run(
                command, shell=True, cwd=project.folder, env={**os.environ, "PATH": path},
                capture_output=True, text=True,
            )  # fmt: skip
            assert ran.returncode == 0, f"{command}\n{ran.stderr}"
    return project


def test_the_guide_gives_numbers_and_a_sheet(followed):
    own = followed.folder / "own"
    metrics = json.loads((own / "metrics.json").read_text())
    assert metrics["images"] == 3
    assert metrics["class_count"] == 5
    assert 0 <= metrics["results"]["combined"]["miou"] <= 1
    assert (own / "sheet.png").stat().st_size > 10_000
    assert len((own / "per_class.csv").read_text().splitlines()) == 6


def test_predictions_as_coco_results_are_the_label_maps(followed):
    """Read back by pycocotools itself, as results of a data set with these images and classes."""
    own = followed.folder / "own"
    results = json.loads((own / "predictions/combined.json").read_text())
    sizes = {stem: Image.open(own / f"predictions/combined/{stem}.png").size for stem in STEMS}
    truth = COCO()
    truth.dataset = {
        "images": [{"id": s, "width": w, "height": h} for s, (w, h) in sizes.items()],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
        "annotations": [],
    }
    truth.createIndex()
    read = truth.loadRes(str(own / "predictions/combined.json"))
    assert {result["file_name"] for result in results} == {f"{stem}.jpg" for stem in STEMS}
    for stem in STEMS:
        labels = np.array(Image.open(own / f"predictions/combined/{stem}.png"))
        covered = np.zeros(labels.shape, int)
        for found in read.loadAnns(read.getAnnIds(imgIds=[stem])):
            mask = read.annToMask(found).astype(bool)
            assert np.array_equal(mask, labels == found["category_id"])
            assert found["area"] == mask.sum()
            assert found["category"] == CLASSES[found["category_id"]]
            covered += mask
        assert (covered == 1).all()


def test_the_entry_of_the_guide_is_planned_by_the_workflow(followed):
    from ruamel.yaml import YAML

    entry = YAML(typ="safe").load(shown_files(GUIDE)["params.yaml"])

    def add(params):
        params["recipes"]["mini"]["datasets"]["benchmarks"].update(entry)
        params["recipes"]["mini"]["inference"]["benchmarks"].append("own")

    followed.edit(add)
    jobs = followed.jobs("datasets")
    assert jobs["convert_benchmark"] == 6, "the recipe's own, and that of the guide"
