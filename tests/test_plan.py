"""`snakemake plan`: what a recipe takes, before anything runs."""

import re

import pytest
from test_workflow import Project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return Project(tmp_path_factory.mktemp("plan"))


def _plan(project: Project, recipe: str) -> str:
    ran = project.snakemake("--profile", "local", "--config", f"recipe={recipe}", "--", "plan")
    assert ran.returncode == 0, ran.stdout
    return ran.stdout[ran.stdout.index("what `all` takes") :]


def test_the_paper_is_planned_with_what_it_costs(project):
    text = _plan(project, "vitl14")
    rows = re.findall(r"^ +(\w+) +(\d+) +(.+?) +([\d,]+)$", text, re.MULTILINE)
    long = {
        rule: (int(models), work, int(hours.replace(",", ""))) for rule, models, work, hours in rows
    }
    jobs = {rule: int(n) for rule, n in re.findall(r"^ +(\w+) +(\d+) +\d+$", text, re.MULTILINE)}
    for rule in ("train_segmenter", "mine_mask_text_pairs", "finetune_clip"):
        assert long[rule][0] == jobs[rule], "counted from the grids, and by Snakemake"
        assert long[rule][2] > 0
    assert long["train_segmenter"][1] == f"{120_000 * jobs['train_segmenter']:,} steps"
    assert jobs["download_archive"] == 11
    assert re.search(r"archives .* 31\.0$", text, re.MULTILINE)
    assert "data/paper/manual/ADE20K_2021_17_01.zip: It is given out" in text
    assert "estimates" in text


def test_the_miniature_world_needs_no_gpu_and_nothing_by_hand(project):
    text = _plan(project, "mini")
    assert re.search(r"train_segmenter +1 +300 steps +–", text)
    assert text.split("To be obtained by hand:\n")[1].startswith("  nothing")
    assert not (project.folder / "results").exists() or not list(
        (project.folder / "results").glob("*/*")
    )
    assert not (project.folder / "data").exists()
