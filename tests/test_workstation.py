"""One machine with several GPUs and no SLURM: who gets which."""

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
from gpu_stubs import ROOT, Stubs, overlap

pytestmark = pytest.mark.slow


def _run(stubs: Stubs, gpus: str) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(stubs.folder),  # its locks are not those of a person's own work
        "CUDA_VISIBLE_DEVICES": gpus,
    }
    ran = subprocess.run(
        ["snakemake", "--profile", "local", "--cores", "4", "all"],
        cwd=stubs.folder, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_trainings_take_all_gpus_shards_one_each_and_no_two_the_same(tmp_path):
    stubs = Stubs(tmp_path / "two", seconds=3)
    _run(stubs, "3,5")
    shards = stubs.shards()
    assert {gpu for record in shards.values() for gpu in record["gpus"]} == {"3", "5"}
    assert all(len(record["gpus"]) == 1 for record in shards.values())
    training = stubs.record("training")
    assert training["gpus"] == ["3", "5"]
    everything = [*shards.values(), training]
    at_once = [pair for pair in combinations(everything, 2) if overlap(*pair)]
    assert at_once, "two shards run side by side"
    assert not any(set(a["gpus"]) & set(b["gpus"]) for a, b in at_once)


def test_without_a_gpu_nothing_is_waited_for(tmp_path):
    stubs = Stubs(tmp_path / "none", seconds=0)
    _run(stubs, "")
    assert all(record["gpus"] == [] for record in [*stubs.shards().values()])


def test_more_gpus_than_there_are_is_said(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.on_gpus", "2", "--", "true"],
        cwd=ROOT, env={**os.environ, "CUDA_VISIBLE_DEVICES": "0"}, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "2 GPUs are asked for, and there are 1" in ran.stderr
