"""A real SLURM on this machine: the whole workflow, and everything that goes wrong on a cluster.

Run by `python -m pytest -m cluster`. Where SLURM is not installed or cannot be started, the tests
say so and are skipped.
"""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import pytest
import torch
from cluster_project import (
    Cluster,
    ClusterProject,
    is_training,
    minutes_run,
    parent,
    processes,
    slurm,
    state,
    until,
)
from gpu_stubs import Stubs, overlap
from project import BENCHMARKS
from ruamel.yaml import YAML

from scan_core.storage.weights import load_tensors

# Seconds that anything may take on a machine that has other things to do, too.
PATIENCE = 180
pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster()
    if reason := cluster.why_not():
        pytest.skip(reason)
    cluster("stop")  # what a killed run of the tests has left
    cluster("start")
    yield cluster
    cluster("stop")


@pytest.fixture(scope="module")
def undisturbed(cluster, tmp_path_factory) -> ClusterProject:
    project = ClusterProject(tmp_path_factory.mktemp("undisturbed"))
    project.configure()
    project.run("snakemake", "--profile", "slurm", "all", seconds=600)
    return project


def test_the_whole_workflow_runs_on_a_cluster(undisturbed):
    for benchmark in BENCHMARKS:
        folder = undisturbed.evaluation(benchmark)
        assert json.loads((folder / "metrics.json").read_text())["images"] == 8
    assert "main.md" in undisturbed.tables()


def test_the_training_runs_on_two_nodes(undisturbed):
    (job,) = undisturbed.jobs_of("train_segmenter")
    about = slurm("scontrol", "show", "job", job)
    assert "NumNodes=2" in about
    assert "TresPerNode=gres:gpu:none:1" in about
    variant = undisturbed.stage("segmenter").name
    log = (undisturbed.folder / f"logs/mini/train_segmenter/{variant}.log").read_text()
    assert "Starting with 2 processes" in log
    assert log.count("made results") == 1, "the first process alone writes"


def test_small_jobs_share_submissions_and_shards_do_not(undisturbed):
    assert len(undisturbed.jobs_of("evaluate_shard")) == len(BENCHMARKS)
    assert len(undisturbed.jobs_of("benchmark")) == 3
    for local in ("evaluate_wildcards", "ablate", "tables", "figures"):
        assert not undisturbed.jobs_of(local)


def test_a_shard_that_fails_takes_no_other_with_it(cluster, tmp_path):
    """Four shards on the two GPUs of one node; what a person sees of the one that fails."""
    stubs = Stubs(tmp_path / "stubs", seconds=8)
    yaml = YAML()
    path = stubs.folder / "slurm/profile.yaml"
    profile = yaml.load(path)
    profile["__variables__"].update(
        partition="main", cpu_partition="main", account="test", gpu="gpu:none",
        gpus_per_node=1, cpus_per_gpu=1,
    )  # fmt: skip
    profile.update({"jobs": 4, "retries": 0, "slurm-init-seconds-before-status-checks": 5})
    profile["set-resources"]["evaluate_shard"].update(mem_mb=500, slurm_extra="'--nodelist=n1'")
    yaml.dump(profile, path)
    command = ["snakemake", "--profile", "slurm", "--config", "fails=2", "--"]
    command += [f"shards/{shard}.json" for shard in range(4)]
    ran = subprocess.run(
        command, cwd=stubs.folder, capture_output=True, text=True, timeout=PATIENCE,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    log = ran.stdout + ran.stderr
    assert ran.returncode == 1, log
    shards = stubs.shards()
    assert shards.keys() == {0, 1, 3}, "what is finished stays"
    assert all(len(record["gpus"]) == 1 for record in shards.values())
    together = [pair for pair in combinations(shards.values(), 2) if overlap(*pair)]
    assert together, "two at a time"
    assert all(a["gpus"] != b["gpus"] for a, b in together)
    at = log.index("Error in rule evaluate_shard")
    assert "this shard is damaged" in "\n".join(log[at:].splitlines()[:40])


class Story:
    """One run in which everything goes wrong with the training, one thing after the other."""

    def __init__(self, cluster: Cluster, project: ClusterProject):
        self.cluster, self.project = cluster, project
        self.work = project.stage("segmenter") / "work"
        self.log = project.folder / "driver.log"
        self.states: dict[str, str] = {}
        self.reached: dict[str, int] = {}

    def step(self) -> int:
        """Of the last checkpoint."""
        path = self.work / "checkpoint.pt"
        return torch.load(path, weights_only=True)["step"] if path.exists() else 0

    def training_job(self, number: int) -> str:
        """The job of the training's n-th submission, once it has gone further than before."""
        before = self.step()

        def submission() -> str | None:
            jobs = list(self.project.jobs_of("train_segmenter"))
            return jobs[number - 1] if len(jobs) >= number else None

        def progress() -> bool:
            return self.step() > before

        job = until(submission, PATIENCE, self.driver)
        until(progress, PATIENCE, self.driver)
        return job

    def until_over(self, job: str) -> None:
        def end() -> bool:
            return state(job) not in ("RUNNING", "COMPLETING", "PENDING")

        until(end, PATIENCE)
        self.states[job] = state(job)

    def until_restart(self, job: str, number: int) -> None:
        def requeued() -> bool:
            return f"Restarts={number}" in slurm("scontrol", "show", "job", job)

        until(requeued, PATIENCE, self.driver)

    def hold(self, job: str) -> None:
        """Keep a training from ending before its limit; SLURM's signal makes it go on."""
        for process, variables in processes():
            if (
                f"SLURM_JOB_ID={job}" in variables
                and is_training(process)
                # Not the processes that it has for reading images.
                and not is_training(parent(process))
            ):
                os.kill(process, signal.SIGSTOP)

    def tell(self) -> None:
        project = self.project
        self.driver = project.start("snakemake", "--profile", "slurm", "all", log=self.log)
        # 1. The first submission has too little memory: see `starved`.
        # 2. A person cancels the job.
        second = self.training_job(2)
        (first, _) = project.jobs_of("train_segmenter")
        self.states[first] = state(first)
        slurm("scancel", second)
        self.until_over(second)
        self.reached["scancel"] = self.step()
        # 3. The job meets its time limit: SLURM says so beforehand, and the job puts itself back
        # into the queue.
        third = self.training_job(3)
        self.hold(third)
        limit = minutes_run(third) + 2  # SLURM's unit; at least one whole minute from now
        slurm("scontrol", "update", f"job={third}", f"TimeLimit={limit}")
        self.until_restart(third, 1)
        slurm("scontrol", "update", f"job={third}", "TimeLimit=20")
        self.reached["time limit"] = self.step()
        # 4. A node dies, and the controller is away while the job that was put back runs.
        self.training_job(3)
        nodes = slurm("squeue", "--noheader", f"--jobs={third}", "--format=%N")
        dying = slurm("scontrol", "show", "hostnames", nodes).splitlines()[1]
        self.cluster.kill_node(dying)
        self.reached["node"] = self.step()
        self.until_restart(third, 2)
        self.training_job(3)
        self.cluster.kill_controller()
        time.sleep(45)
        self.cluster("controller")
        self.cluster("node", dying)
        self.until_over(third)

        # 5. Snakemake dies, and leaves the next job behind.
        def pairs() -> list[str]:
            return list(project.jobs_of("mine_shard"))

        until(pairs, PATIENCE, self.driver)
        os.killpg(self.driver.pid, signal.SIGKILL)
        self.driver.wait()
        (self.orphan,) = pairs()


@pytest.fixture(scope="module")
def story(cluster, undisturbed, tmp_path_factory) -> Story:
    project = undisturbed.copy(tmp_path_factory.mktemp("disturbed"))
    project.forget("stages/segmenter", "stages/pairs", "stages/model", "mini/eval")
    _starve(project)
    story = Story(cluster, project)
    story.tell()
    resume = (sys.executable, "-m", "workflow_scripts.resume", "wait")
    story.resumed = project.run(*resume, seconds=400)
    project.run("snakemake", "--profile", "slurm", "all", seconds=400)
    return story


def _starve(project: ClusterProject) -> None:
    yaml = YAML()
    path = project.folder / "slurm/profile.yaml"
    profile = yaml.load(path)
    profile["set-resources"]["train_segmenter"]["mem_mb"] = "300 if attempt == 1 else 20000"
    yaml.dump(profile, path)


def test_everything_goes_wrong_and_the_tables_are_the_same(story, undisturbed):
    assert story.project.tables() == undisturbed.tables()
    ours, theirs = (
        load_tensors(project.stage("segmenter") / "segmenter.safetensors")[0]
        for project in (story.project, undisturbed)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_each_fault_was_what_it_was_meant_to_be(story):
    first, second, third = story.states.items()
    assert first[1] in ("OUT_OF_MEMORY", "FAILED")
    assert second[1] == "CANCELLED"
    assert third[1] == "COMPLETED", "after its time limit and the death of a node"
    assert 0 < story.reached["scancel"] < story.reached["time limit"] < story.reached["node"]


def test_a_dead_snakemake_is_resumed_without_doing_anything_twice(story):
    assert story.project.jobs_of("mine_shard") == {story.orphan: "COMPLETED"}
    assert f"waiting for {story.orphan}" in story.resumed
    assert len(story.project.jobs_of("train_segmenter")) == 3
