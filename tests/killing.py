"""A project whose workflow is killed in every way, and what is left of it."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from project import Project

# What a run makes that does not say when, where, or how fast it was made.
_TIMED = (
    *(".made_from", "timings/", "tables/recipe.json", "mlflow_sync.json", "mlflow.json"),
    *("/work/journal.log", ".snakemake_timestamp"),
)


class KilledProject(Project):
    """A project whose Snakemake can be started, killed and started again."""

    def start(self, *arguments: str) -> subprocess.Popen:
        """Snakemake, as the leader of a group of its own."""
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        with (self.folder / "log.txt").open("a") as log:
            return subprocess.Popen(
                ["snakemake", "--profile", "local", *arguments],
                cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    def digests(self) -> dict[str, str]:
        """Of everything that a run makes, but for when and how fast it was made."""
        found = {}
        for root in ("results", "data"):
            for path in sorted((self.folder / root).rglob("*")):
                name = path.relative_to(self.folder).as_posix()
                if path.is_file() and not any(word in name for word in _TIMED):
                    found[name] = hashlib.sha256(_without_times(path)).hexdigest()
        return found

    def leftovers(self) -> list[str]:
        """Files that no finished run leaves."""
        names = [
            path.relative_to(self.folder).as_posix()
            for root in ("results", "data")
            for path in (self.folder / root).rglob("*")
            if ".tmp" in path.name
            or path.name.endswith((".lock", ".lease", ".maker", ".part", ".partial"))
            or (path.name in ("partial", "work") and path.parents[1].name != "search")
        ]
        locks = [str(path) for path in (self.folder / ".snakemake/locks").glob("*")]
        return names + locks


def _without_times(path: Path) -> bytes:
    """A file's content, of an evaluation without the seconds that it took."""
    if path.name == "metrics.json":
        record = json.loads(path.read_text())
        return json.dumps({**record, "timing": None, "record_sha256": None}).encode()
    if path.parent.name == "shards" and path.suffix == ".npz":
        with np.load(path) as file:
            return b"".join(
                key.encode() + file[key].tobytes() for key in file if key != "__timing__"
            )
    if path.name.endswith("made_of.json"):  # with a line more where something else stood before
        return path.read_bytes().strip()
    return path.read_bytes()


def descendants(process: int) -> list[int]:
    """Numbers of the processes that one has started, and they in turn."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [process]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def processes_of(rule: str, folder: Path) -> list[int]:
    """Numbers of the processes of a rule's script that run in a project, the oldest first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                here = (entry / "cwd").resolve(strict=True) == folder.resolve()
            except OSError:
                continue
            if here and f"workflow_scripts.{rule}".encode() in words:
                found.append(int(entry.name))
    return sorted(found)


def kill(
    snakemake: subprocess.Popen, how: str, rng: random.Random | None, job: int | None = None
) -> None:
    """Kill a part of a running workflow.

    Args:
        snakemake: that runs it.
        how: `group`, `snakemake`, `child` (the process of a job), `worker` (one that a job has
            started, or the job's own where there is none), SIGTERM or SIGINT.
        rng: chooses the worker.
        job: process of the job.
    """
    try:
        if how == "group":
            os.killpg(snakemake.pid, signal.SIGKILL)
        elif how == "snakemake":
            snakemake.kill()
        elif how == "child":
            os.kill(job, signal.SIGKILL)
        elif how == "worker":
            os.kill(rng.choice(descendants(job) or [job]), signal.SIGKILL)
        else:
            os.killpg(snakemake.pid, getattr(signal, how))
    except ProcessLookupError:
        pass


def wait(snakemake: subprocess.Popen, seconds: float) -> int:
    """Its exit status; after so long it is killed with all that it has started."""
    try:
        return snakemake.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(snakemake.pid, signal.SIGKILL)
        snakemake.wait()
        raise


def wait_for(condition, seconds: float = 120.0) -> None:
    """Return when a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
