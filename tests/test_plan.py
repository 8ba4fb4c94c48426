"""`snakemake plan`: what a recipe takes, before anything runs."""

import re

import pytest
from project import Project

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
    rows = re.findall(
        r"^(\w+) +(\d+) +(.+?) +((?:float32|tf32|bfloat16)[\w, ]*?) +([\d,.]+) +([\d,.]+)$",
        text,
        re.MULTILINE,
    )
    long = {
        rule: (int(models), work, float(hours.replace(",", "")), float(wall.replace(",", "")))
        for rule, models, work, _, hours, wall in rows
    }
    jobs = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+) +\d+$", text, re.MULTILINE)}
    for rule in ("train_segmenter", "mine_mask_text_pairs", "finetune_clip"):
        assert long[rule][0] == jobs[rule], "counted from the grids, and by Snakemake"
        assert long[rule][2] > 0
    assert long["train_segmenter"][1] == f"{120_000 * jobs['train_segmenter']:,} steps"
    assert jobs["download_archive"] == 11
    assert re.search(r"archives .* 31\.0$", text, re.MULTILINE)
    assert "data/paper/manual/ADE20K_2021_17_01.zip: It is given out" in text
    # 118,287 images, each 0.82 TFLOP at 160 TFLOP/s and 100 crops of 0.1564 at 280.
    of_an_image = 0.82 / 160 + 100 * 0.1564 / 280
    assert long["mine_mask_text_pairs"][2] == pytest.approx(
        long["mine_mask_text_pairs"][0] * 118_287 * of_an_image / 3600, abs=0.06
    )
    assert long["mine_mask_text_pairs"][3] == pytest.approx(
        long["mine_mask_text_pairs"][2] / 8, abs=0.06
    )
    assert "H100" in text
    files = int(re.search(r"Files of the data, about: ([\d,]+)", text)[1].replace(",", ""))
    assert files > 3 * 123_287, "COCO's images, its label maps, and the converted ones"


def test_the_miniature_world_needs_no_gpu_and_nothing_by_hand(project):
    text = _plan(project, "mini")
    assert re.search(r"train_segmenter +1 +[\d,]+ steps +float32 +–", text)
    assert text.split("To be obtained by hand:\n")[1].startswith("  nothing")
    assert not (project.folder / "results").exists() or not list(
        (project.folder / "results").glob("*/*")
    )
    assert not (project.folder / "data").exists()
