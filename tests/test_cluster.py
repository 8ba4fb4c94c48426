"""A real SLURM on this machine: the whole workflow, and everything that goes wrong on a cluster.

Run by `python -m pytest -m cluster`. Where SLURM is not installed or cannot be started, the tests
say so and are skipped.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML
from test_pipeline import BENCHMARKS, reduced
from test_workflow import Project

from scan_core.checkpoint_io import load_tensors

SCRIPT = Path(__file__).with_name("slurm_cluster.sh")
STEPS = 60
pytestmark = [pytest.mark.slow, pytest.mark.cluster]


class Cluster:
    """The cluster of `slurm_cluster.sh`."""

    def __init__(self):
        self.home = Path(os.environ.get("SLURM_TEST_CLUSTER", "/tmp/slurm-test-cluster"))

    def __call__(self, *command: str) -> None:
        # Not captured: the daemons that it starts keep its output open.
        subprocess.run([str(SCRIPT), *command], check=True, timeout=120)

    def kill_controller(self) -> None:
        os.kill(int((self.home / "run/slurmctld.pid").read_text()), signal.SIGKILL)

    def kill_node(self, node: str) -> None:
        """Everything on it: its daemon, and whatever jobs run there."""
        os.kill(int((self.home / f"run/{node}.pid").read_text()), signal.SIGKILL)
        there = [p for p, variables in _processes() if f"SLURMD_NODENAME={node}" in variables]
        parents = {
            int(Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()[1]) for p in there
        }
        stepds = {p for p in parents if "slurmstepd" in Path(f"/proc/{p}/comm").read_text()}
        for process in {*there, *stepds}:
            os.kill(process, signal.SIGKILL)


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])


def _processes():
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                yield int(folder.name), (folder / "environ").read_text().split("\0")
            except (OSError, UnicodeDecodeError):
                continue


def _is_training(process: int) -> bool:
    words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
    return words[1:3] == ["-m", "workflow_scripts.train_segmenter"]


def _is_pending(process: int, number: int) -> bool:
    """Whether a signal waits for a stopped process."""
    status = Path(f"/proc/{process}/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def slurm(*command: str) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()


def state(job: str) -> str:
    return slurm("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")


def until(what, seconds: float, driver: subprocess.Popen | None = None):
    """What a function returns, once it is true."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"no {what.__name__} within {seconds} s"
        if driver is not None and driver.poll() is not None:
            raise AssertionError(f"Snakemake ended: {driver.returncode}")
        time.sleep(0.2)
    return found


class ClusterProject(Project):
    """The project on the test cluster: its site settings, and numbers for two cores."""

    def configure(self) -> None:
        self.edit(reduced)
        self.edit(_a_training_that_takes_a_while)
        yaml = YAML()
        path = self.folder / "slurm/profile.yaml"
        profile = yaml.load(path)
        profile["__variables__"].update(
            partition="main", account="test", gpu="gpu:none",
            nodes=2, gpus_per_node=1, cpus_per_gpu=2, longest=20,
        )  # fmt: skip
        profile["jobs"] = 4
        profile["slurm-init-seconds-before-status-checks"] = 5
        yaml.dump(profile, path)

    def start(self, *command: str, log: Path) -> subprocess.Popen:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
        with log.open("a") as file:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip

    def run(self, *command: str, seconds: float) -> str:
        log = self.folder / "driver.log"
        driver = self.start(*command, log=log)
        try:
            status = driver.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(driver.pid, signal.SIGKILL)
            raise
        assert status == 0, log.read_text()
        return log.read_text()

    def copy(self, folder: Path) -> "ClusterProject":
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        copied = object.__new__(ClusterProject)
        copied.folder = folder
        return copied

    def forget(self, *results: str) -> None:
        """Remove what was made, and whatever Snakemake would take as a sign of it."""
        for name in (*results, "figures", "qualitative"):
            shutil.rmtree(self.folder / "results/mini" / name)
        (self.folder / "results/mini/metrics.json").unlink()

    def jobs_of(self, rule: str) -> dict[str, str]:
        """State of every job of a rule that was submitted in this folder, by number."""
        lines = slurm(
            "squeue", "--noheader", "--states=all", "--sort=i", "--format=%i|%T|%k|%Z"
        ).splitlines()
        found = (line.split("|") for line in lines)
        return {
            number: state
            for number, state, comment, folder in found
            if f"rule_{rule}" in comment and folder == str(self.folder)
        }

    def tables(self) -> dict[str, str]:
        folder = self.folder / "results/mini/tables"
        return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def _a_training_that_takes_a_while(params) -> None:
    recipe = params["recipes"]["mini"]
    benchmarks = recipe["datasets"]["benchmarks"]
    for name in [*benchmarks]:
        if name not in (recipe["datasets"]["train"], *BENCHMARKS):
            del benchmarks[name]
    recipe["segmenter"]["training"].update(steps=STEPS, checkpoint_every=4, validate_every=STEPS)


@pytest.fixture(scope="module")
def cluster():
    missing = [
        name for name in ("slurmctld", "slurmd", "munged", "squeue") if not shutil.which(name)
    ]
    if missing or os.geteuid() != 0:
        pytest.skip(f"SLURM is not installed or this is not root (missing: {missing})")
    cluster = Cluster()
    try:
        cluster("start")
    except subprocess.CalledProcessError:
        cluster("stop")
        pytest.skip("SLURM does not start here: see the output above")
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
        folder = undisturbed.folder / f"results/mini/eval/seed=0/{benchmark}"
        assert json.loads((folder / "metrics.json").read_text())["images"] == 8
    assert "main.md" in undisturbed.tables()


def test_the_training_runs_on_two_nodes(undisturbed):
    (job,) = undisturbed.jobs_of("train_segmenter")
    about = slurm("scontrol", "show", "job", job)
    assert "NumNodes=2" in about
    assert "TresPerNode=gres:gpu:none:1" in about
    log = (undisturbed.folder / "logs/mini/train_segmenter/seed=0.log").read_text()
    assert "Starting with 2 processes" in log
    assert log.count("made results") == 1, "the first process alone writes"


def test_small_jobs_share_submissions(undisturbed):
    assert len(undisturbed.jobs_of("evaluation")) == 1
    assert len(undisturbed.jobs_of("benchmark")) == 3
    for local in ("evaluate_wildcards", "ablate", "tables", "figures"):
        assert not undisturbed.jobs_of(local)


class Story:
    """One run in which everything goes wrong with the training, one thing after the other."""

    def __init__(self, cluster: Cluster, project: ClusterProject):
        self.cluster, self.project = cluster, project
        self.work = project.folder / "results/mini/segmenter/seed=0/work"
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

        job = until(submission, 90, self.driver)
        until(progress, 90, self.driver)
        return job

    def until_over(self, job: str) -> None:
        def end() -> bool:
            return state(job) not in ("RUNNING", "COMPLETING", "PENDING")

        until(end, 90)
        self.states[job] = state(job)

    @contextmanager
    def held(self, job: str) -> Iterator[None]:
        """Keep a training from ending by itself before SLURM's signal has come."""
        processes = [
            process
            for process, variables in _processes()
            if f"SLURM_JOB_ID={job}" in variables
            and _is_training(process)
            # Not the processes that it has for reading images.
            and not _is_training(_parent(process))
        ]
        for process in processes:
            os.kill(process, signal.SIGSTOP)

        def told() -> bool:
            return all(_is_pending(process, signal.SIGUSR1) for process in processes)

        yield
        until(told, 90)
        for process in processes:
            os.kill(process, signal.SIGCONT)

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
        # 3. The job meets its time limit: SLURM says so beforehand.
        third = self.training_job(3)
        with self.held(third):
            slurm("scontrol", "update", f"job={third}", "TimeLimit=1")
        self.until_over(third)
        self.reached["time limit"] = self.step()
        # 4. A node dies, and the controller is away while the job that was put back runs.
        fourth = self.training_job(4)
        nodes = slurm("squeue", "--noheader", f"--jobs={fourth}", "--format=%N")
        dying = slurm("scontrol", "show", "hostnames", nodes).splitlines()[1]
        self.cluster.kill_node(dying)
        self.reached["node"] = self.step()

        def requeued() -> bool:
            return "Restarts=1" in slurm("scontrol", "show", "job", fourth)

        until(requeued, 90, self.driver)
        self.training_job(4)
        self.cluster.kill_controller()
        time.sleep(45)
        self.cluster("controller")
        self.cluster("node", dying)
        self.until_over(fourth)

        # 5. Snakemake dies, and leaves the next job behind.
        def pairs() -> list[str]:
            return list(project.jobs_of("mine_mask_text_pairs"))

        until(pairs, 120, self.driver)
        os.killpg(self.driver.pid, signal.SIGKILL)
        self.driver.wait()
        (self.orphan,) = pairs()


@pytest.fixture(scope="module")
def story(cluster, undisturbed, tmp_path_factory) -> Story:
    project = undisturbed.copy(tmp_path_factory.mktemp("disturbed"))
    project.forget("segmenter", "pairs", "model", "eval", "ablations", "tables")
    _starve(project)
    story = Story(cluster, project)
    story.tell()
    story.resumed = project.run(
        sys.executable, "-m", "workflow_scripts.resume", "wait", "all", seconds=400
    )
    return story


def _starve(project: ClusterProject) -> None:
    yaml = YAML()
    path = project.folder / "slurm/profile.yaml"
    profile = yaml.load(path)
    profile["set-resources"]["train_segmenter"]["mem_mb"] = "300 if attempt == 1 else 20000"
    yaml.dump(profile, path)


def test_everything_goes_wrong_and_the_tables_are_the_same(story, undisturbed):
    assert story.project.tables() == undisturbed.tables()
    name = "results/mini/segmenter/seed=0/segmenter.safetensors"
    ours, _ = load_tensors(story.project.folder / name)
    theirs, _ = load_tensors(undisturbed.folder / name)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_each_fault_was_what_it_was_meant_to_be(story):
    first, second, third, fourth = story.states.items()
    assert first[1] in ("OUT_OF_MEMORY", "FAILED")
    assert second[1] == "CANCELLED"
    assert third[1] in ("FAILED", "TIMEOUT")
    assert fourth[1] == "COMPLETED"
    assert 0 < story.reached["scancel"] < story.reached["time limit"] < story.reached["node"]


def test_a_dead_snakemake_is_resumed_without_doing_anything_twice(story):
    assert story.project.jobs_of("mine_mask_text_pairs") == {story.orphan: "COMPLETED"}
    assert f"waiting for {story.orphan}" in story.resumed
    assert len(story.project.jobs_of("train_segmenter")) == 4
