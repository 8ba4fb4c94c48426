"""The guide to a benchmark of one's own, followed word by word."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from documented import ROOT, commands, shown_files
from PIL import Image
from project import Project, reduced
from raw_data import png
from ruamel.yaml import YAML
from small_models import tiny_scan

from scan_core.datasets.miniworld.concepts import concept_id
from scan_core.datasets.miniworld.scenes import draw_scene

GUIDE = ROOT / "docs/own_data.md"
IMAGES = (("train", "one"), ("train", "two"), ("val", "three"), ("val", "four"))
CLASSES = ("sky", "sea", "sand", "grass", "hedge")

pytestmark = pytest.mark.slow


def _write_images(raw: Path) -> None:
    """The layout of the guide."""
    for number, (split, stem) in enumerate(IMAGES):
        scene = draw_scene((1, 2), number, 96)
        values = np.zeros(scene.concepts.shape, np.uint8)
        for value, name in enumerate(CLASSES, start=1):
            values[scene.concepts == concept_id(name)] = value
        png(raw / f"labels/{split}/{stem}.png", values)
        (raw / "images" / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.pixels).save(raw / f"images/{split}/{stem}.jpg", quality=95)


def _entry(params) -> None:
    """The recipe of the guide, added to the file."""
    shown = YAML(typ="safe").load(shown_files(GUIDE)["params.yaml"])
    params["recipes"].update(shown["recipes"])


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("own"))
    model = project.folder / "results/mini/release/model.safetensors"
    tiny_scan().save(model)
    _write_images(project.folder / "own/raw")
    project.edit(_entry)
    shutil.copy(project.folder / "params.yaml", project.folder / "own/params.yaml")
    for name, text in shown_files(GUIDE).items():
        if name.startswith("own/"):
            (project.folder / name).write_text(text)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command in commands(GUIDE):
        if command.startswith("python") or " -n " in command:
            ran = subprocess.run(
                command, shell=True, cwd=project.folder, env={**os.environ, "PATH": path},
                capture_output=True, text=True,
            )  # fmt: skip
            assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    return project


def test_the_guide_gives_numbers_and_a_sheet(followed):
    own = followed.folder / "own"
    metrics = json.loads((own / "metrics.json").read_text())
    assert metrics["images"] == 2
    assert metrics["class_count"] == 5
    assert 0 <= metrics["results"]["combined"]["miou"] <= 1
    assert (own / "sheet.png").stat().st_size > 10_000
    assert len((own / "per_class.csv").read_text().splitlines()) == 6
    scored = json.loads((own / "scored/metrics.json").read_text())
    assert scored["results"]["combined"] == metrics["results"]["combined"]


def test_the_recipe_of_the_guide_makes_nothing_that_it_does_not_use(followed):
    jobs = followed.jobs("--config", "recipe=own", "--", "all")
    assert jobs["convert_benchmark"] == jobs["verify_dataset"] == jobs["evaluate"] == 1
    assert "generate_miniworld" not in jobs
    assert len(shown_files(GUIDE)["params.yaml"].splitlines()) <= 10


@pytest.mark.long
def test_a_training_on_images_of_ones_own(tmp_path):
    """The recipe of the guide, with few steps: fine-tuned on class names, evaluated, in tables."""
    project = Project(tmp_path)
    _write_images(tmp_path / "own/raw")
    (tmp_path / "own/classes.json").write_text(shown_files(GUIDE)["own/classes.json"])
    project.edit(lambda params: (reduced(params), _entry(params)))
    ran = project.snakemake("--profile", "local", "--config", "recipe=own", "--", "all")
    assert ran.returncode == 0, ran.stdout
    results = tmp_path / "results/own"
    pairs = next(results.glob("pairs/*/pairs.jsonl")).read_text().splitlines()
    assert {json.loads(line)["noun"] for line in pairs} <= set(CLASSES)
    metrics = json.loads((results / "metrics/own.json").read_text())
    assert 0 <= metrics["miou"] <= 100
    assert "own" in (results / "tables/main.md").read_text()
