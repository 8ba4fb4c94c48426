"""Edits outside of `params.yaml` that change a result: each changes what the result is made of."""

import json
import re
from pathlib import Path

import pytest
from project import ROOT, Project

LISTS = ROOT / "scan_core/vocabulary/data"
CLIP = ROOT / "scan_core/models/packaged/mini_clip.safetensors"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """Class lists of one's own, one of which is predicted with another, and a CLIP of one's own."""
    made = Project(tmp_path_factory.mktemp("noticed"))
    own = made.folder / "own"
    own.mkdir()
    for name in ("mini_context_24", "mini_voc_10b"):
        document = json.loads((LISTS / f"{name}.json").read_text())
        if "predict_with" in document:
            document["predict_with"] = "own/mini_context_24.json"
        (own / f"{name}.json").write_text(json.dumps(document))
    (own / "clip.safetensors").write_bytes(CLIP.read_bytes())

    def change(params):
        recipe = params["recipes"]["mini"]
        recipe["clip"].update(source="file:own/clip.safetensors", pretraining=None)
        for name in ("mini_context_24", "mini_voc_10b"):
            recipe["datasets"]["benchmarks"][name]["classes"] = f"own/{name}.json"
        recipe["grids"] = []

    made.edit(change)
    return made


def made_of(project: Project) -> dict[str, str]:
    """Result -> the name, by its content, of the description of what it would be made of."""
    ran = project.snakemake("-n", "-F", "-p", "--profile", "local", "all")
    assert ran.returncode == 0, ran.stdout
    copies = re.findall(r"&& cp (\S+/)(\w+)\.json (\S*made_of\.json)", ran.stdout)
    return {result: content for _, content, result in copies}


def edited(path: Path, change) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def seen(document):
    document["seen"][0] = not document["seen"][0]


def name(document):
    document["names"][0] += ", firmament"


# What is edited, how, and which results it changes, and one that it does not.
CASES = {
    "seen classes": (
        "mini_context_24.json",
        seen,
        ["eval/seed=0/mini_context_24/made_of"],
        "eval/seed=0/mini_ade_36/shards/0.made_of",
    ),
    "names that another list predicts with": (
        "mini_context_24.json",
        name,
        ["eval/seed=0/mini_voc_10b/shards/0.made_of"],
        "segmenter/seed=0/made_of",
    ),
    "a CLIP of one's own": (
        "clip.safetensors",
        None,
        ["clip/seed=0/made_of"],
        "eval/seed=0/mini_ade_36/made_of",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_edit_changes_what_a_result_is_made_of(project, case):
    file, change, different, equal = CASES[case]
    before = made_of(project)
    path = project.folder / "own" / file
    if change is None:
        path.write_bytes(path.read_bytes() + b"\0")
    else:
        edited(path, change)
    after = made_of(project)
    assert before.keys() == after.keys()
    for result in different:
        where = f"results/mini/{result}.json"
        assert before[where] != after[where], result
    assert before[f"results/mini/{equal}.json"] == after[f"results/mini/{equal}.json"]
