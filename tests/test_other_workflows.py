"""The workflow as others use it: a module of their own, or run in another directory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documented import ROOT
from project import small
from ruamel.yaml import YAML

from scan_core.params.data_names import world_folder
from scan_core.params.reading import read_params, validate


def _world(folder: Path) -> str:
    """The raw root of one layout of the miniature world."""
    params = validate(read_params(folder / "params.yaml"))
    return world_folder(params.recipes["mini"], "voc2010")


WORKFLOW = """
configfile: "mine.yaml"

module scan:
    snakefile: "{root}/Snakefile"

use rule * from scan as scan_*

rule count:
    input:
        "{world}/voc2010.json",
    output:
        "count.txt",
    shell:
        "(echo {{config[greeting]}}; ls {world}/VOCdevkit/VOC2010/trainval) > {{output}}"
"""

pytestmark = pytest.mark.slow


def _params(folder: Path) -> None:
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    small(params)
    yaml.dump(params, folder / "params.yaml")


def _snakemake(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["snakemake", "--cores", "1", *map(str, arguments)],
        cwd=folder, env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_as_a_module_of_another_workflow(tmp_path):
    _params(tmp_path)
    (tmp_path / "Snakefile").write_text(WORKFLOW.format(root=ROOT, world=_world(tmp_path)))
    (tmp_path / "mine.yaml").write_text("greeting: hello\n")
    ran = _snakemake(tmp_path, "count.txt")
    assert ran.returncode == 0, ran.stdout
    greeting, *labels = (tmp_path / "count.txt").read_text().split()
    assert greeting == "hello"
    assert len(labels) == 11, "3 tuning images and 8 test images"
    planned = _snakemake(tmp_path, "-n", "--quiet", "rules", "--", "scan_all")
    assert planned.returncode == 0, planned.stdout
    assert "scan_train_segmenter" in planned.stdout


def test_in_another_directory(tmp_path):
    ran = _snakemake(tmp_path, "-s", ROOT / "Snakefile", "--directory", tmp_path, "datasets")
    assert ran.returncode != 0
    assert f"{tmp_path} has no params.yaml" in ran.stdout
    assert f"begin with a copy of {ROOT / 'params.yaml'}" in ran.stdout
    _params(tmp_path)
    world = f"{_world(tmp_path)}/voc2010.json"
    ran = _snakemake(ROOT, "-s", ROOT / "Snakefile", "--directory", tmp_path, world)
    assert ran.returncode == 0, ran.stdout
    assert (tmp_path / world).is_file()
    shutil.rmtree(tmp_path / "data")
