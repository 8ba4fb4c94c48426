"""`workflow_scripts.plan`: what a recipe takes, before anything runs."""

import re
import subprocess
import sys

import pytest
from project import Project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return Project(tmp_path_factory.mktemp("plan"))


def _plan(project: Project, recipe: str) -> str:
    command = [sys.executable, "-m", "workflow_scripts.plan", recipe]
    ran = subprocess.run(command, cwd=project.folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_paper_is_planned_with_what_it_costs(project):
    text = _plan(project, "vitl14")
    jobs = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+) +\d+$", text, re.MULTILINE)}
    assert jobs["download_archive"] == 11
    steps = f"{120_000 * jobs['train_segmenter']:,} steps"
    assert re.search(rf"^train_segmenter +{jobs['train_segmenter']} +{steps} ", text, re.MULTILINE)
    assert "data/paper/manual/ADE20K_2021_17_01.zip: It is given out" in text
    assert "H100" in text


def test_the_miniature_world_needs_no_gpu_and_nothing_by_hand(project):
    text = _plan(project, "mini")
    assert re.search(r"^diagnose +1 +360 images +float32 +–", text, re.MULTILINE)
    assert re.search(r"train_segmenter +1 +[\d,]+ steps +float32 +–", text)
    assert text.split("To be obtained by hand:\n")[1].startswith("  nothing")
    assert not (project.folder / "results").exists() or not list(
        (project.folder / "results").glob("*/*")
    )
    assert not (project.folder / "data").exists()
