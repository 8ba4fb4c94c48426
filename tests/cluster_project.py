"""The test cluster and projects on it, for the tests of `test_cluster.py`."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from project import BENCHMARKS, STORE, Project, reduced
from ruamel.yaml import YAML

SCRIPT = Path(__file__).with_name("slurm_cluster.sh")
STEPS = 60


class Cluster:
    """The cluster of `slurm_cluster.sh`."""

    def __init__(self):
        self.home = Path(os.environ.get("SLURM_TEST_CLUSTER", "/tmp/slurm-test-cluster"))

    def why_not(self) -> str | None:
        """Why it cannot be started here, if so."""
        programs = ("slurmctld", "slurmd", "munged", "squeue")
        if missing := [name for name in programs if not shutil.which(name)]:
            return f"SLURM is not installed: there is no {', '.join(missing)}"
        if os.geteuid() != 0:
            return "SLURM's daemons need root, to act for the owners of jobs"
        configuration = Path("/etc/slurm/slurm.conf")
        if configuration.exists() and self.home not in configuration.resolve().parents:
            return f"{configuration} exists: this machine belongs to a cluster"
        return None

    def __call__(self, *command: str) -> None:
        # Not captured: the daemons that it starts keep its output open.
        subprocess.run([str(SCRIPT), *command], check=True, timeout=120)

    def kill_controller(self) -> None:
        os.kill(int((self.home / "run/slurmctld.pid").read_text()), signal.SIGKILL)

    def kill_node(self, node: str) -> None:
        """Everything on it: its daemon, and whatever jobs run there."""
        os.kill(int((self.home / f"run/{node}.pid").read_text()), signal.SIGKILL)
        there = [p for p, variables in processes() if f"SLURMD_NODENAME={node}" in variables]
        parents = {
            int(Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()[1]) for p in there
        }
        stepds = {p for p in parents if "slurmstepd" in Path(f"/proc/{p}/comm").read_text()}
        for process in {*there, *stepds}:
            os.kill(process, signal.SIGKILL)


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])


def processes():
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                yield int(folder.name), (folder / "environ").read_text().split("\0")
            except (OSError, UnicodeDecodeError):
                continue


def is_training(process: int) -> bool:
    words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
    return words[1:3] == ["-m", "workflow_scripts.train_segmenter"]


def slurm(*command: str) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()


def state(job: str) -> str:
    return slurm("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")


def minutes_run(job: str) -> int:
    """Whole minutes that a job has run."""
    clock = slurm("squeue", "--noheader", f"--jobs={job}", "--format=%M")
    return int(clock.split(":")[-2])


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
            partition="main", cpu_partition="main", account="test", gpu="gpu:none",
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
        shutil.copytree(self.folder, folder, ignore=STORE, symlinks=True, dirs_exist_ok=True)
        copied = object.__new__(ClusterProject)
        copied.folder = folder
        return copied

    def forget(self, *results: str) -> None:
        """Remove what was made, and whatever Snakemake would take as a sign of it."""
        leaves = ("tables", "ablations", "figures", "metrics", "qualitative")
        for name in (*results, *(f"mini/{leaf}" for leaf in leaves)):
            shutil.rmtree(self.folder / "results" / name)

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
