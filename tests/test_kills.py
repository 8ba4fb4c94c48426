"""Whatever is killed: `resume` and the same command go on, and end with the same bytes."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from project import Project, reduced

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

# Rule -> what is killed while it works: all processes, Snakemake alone, or the rule's own process;
# or the signal that all processes get.
KILLS = {
    "generate_miniworld": "all",
    "convert_benchmark": "snakemake",
    "clip_weights": "job",
    "train_segmenter": "snakemake",
    "mine_shard": "all",
    "finetune_clip": "SIGTERM",
    "fuse_weights": "job",
    "evaluate_shard": "all",
    "tables": "SIGINT",
}
# What a run makes that says when, or how fast, it was made.
TIMED = (
    "timings/",
    "mlflow",
    "report.html",
    "/work/",
    ".snakemake_timestamp",
    "/text/",
    "/counts/",
)


class KilledProject(Project):
    """A project whose Snakemake is killed."""

    def start(self, *arguments: str) -> subprocess.Popen:
        """Snakemake, as the leader of a group of its own."""
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        with (self.folder / "log.txt").open("a") as log:
            return subprocess.Popen(
                ["snakemake", "--profile", "local", *arguments],
                cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def resume(self, how: str) -> None:
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        command = [sys.executable, "-m", "workflow_scripts.resume", how]
        subprocess.run(command, cwd=self.folder, env=environment, check=True, timeout=300)

    def kill_in(self, rule: str, what: str, *options: str) -> subprocess.Popen:
        """Start the whole workflow, and kill a part of it while a rule works."""
        started = self.start(*options, "--", "all")
        while not (jobs := self.processes_of(rule)):
            assert started.poll() is None, f"{rule} did not run: {self.log()[-3000:]}"
            time.sleep(0.02)
        time.sleep(0.5)
        if what == "job":
            os.kill(jobs[0], signal.SIGKILL)
        elif what == "snakemake":
            started.kill()
        else:
            os.killpg(started.pid, getattr(signal, what, signal.SIGKILL))
        started.wait(300)
        return started

    def processes_of(self, rule: str) -> list[int]:
        """The processes of a rule's script, the oldest first."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    here = (entry / "cwd").resolve(strict=True) == self.folder.resolve()
                except OSError:
                    continue
                if here and words[1:3] == [b"-m", f"workflow_scripts.{rule}".encode()]:
                    found.append(int(entry.name))
        return sorted(found)

    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    def state(self) -> dict[str, tuple[int, int]]:
        """Size and time of every file outside of Snakemake's own folder."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        outside = (path for path in files if ".snakemake" not in path.parts)
        return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in outside}

    def digests(self) -> dict[str, str]:
        """Of everything that a run makes, but for when and how fast it was made."""
        found = {}
        for root in ("results", "data"):
            for path in sorted((self.folder / root).rglob("*")):
                name = path.relative_to(self.folder).as_posix()
                if path.is_file() and not any(word in name for word in TIMED):
                    found[name] = hashlib.sha256(_without_times(path)).hexdigest()
        return found

    def leftovers(self) -> list[Path]:
        """Files and folders that no finished run leaves."""
        paths = [path for root in ("results", "data") for path in (self.folder / root).rglob("*")]
        return [
            path
            for path in paths
            if ".tmp" in path.name or path.suffix == ".part" or path.name in ("partial", "work")
        ]


def _without_times(path: Path) -> bytes:
    """A file's content, of an evaluation without the seconds that it took."""
    if path.name == "metrics.json":
        record = json.loads(path.read_text())
        return json.dumps({**record, "timing": None, "record_sha256": None}).encode()
    if path.parent.name == "shards" and path.suffix == ".npz":
        with np.load(path) as file:
            about = json.loads(str(file["about"])) | {"timing": None}
            kept = sorted(key for key in file if key != "about")
            arrays = b"".join(key.encode() + file[key].tobytes() for key in kept)
            return arrays + json.dumps(about).encode()
    return path.read_bytes()


def test_the_same_command_goes_on_after_every_kill(tmp_path):
    undisturbed, killed = (KilledProject(tmp_path / name) for name in ("undisturbed", "killed"))
    for project in (undisturbed, killed):
        project.edit(reduced)
    for rule, what in KILLS.items():
        started = killed.kill_in(rule, what)
        assert started.returncode, rule
        killed.resume("cancel")
    assert killed.start("all").wait(900) == 0, killed.log()[-3000:]
    assert undisturbed.start("all").wait(900) == 0, undisturbed.log()[-3000:]
    assert killed.leftovers() == []
    ours, theirs = killed.digests(), undisturbed.digests()
    differ = [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
    assert differ == []


def test_looking_harms_nobody(tmp_path):
    """A training goes on without its Snakemake; whoever looks ends nothing and unlocks nothing."""
    project = KilledProject(tmp_path)
    project.edit(reduced)
    project.edit(_a_long_training)
    # One job, or another one would go on and write.
    project.kill_in("clip_weights", "snakemake", "--cores", "1")
    (job, *_) = project.processes_of("clip_weights")
    os.kill(job, signal.SIGSTOP)
    try:
        before = project.state()
        page = ["--report", ".snakemake/report.html", "all"]
        for looking in (["--list-rules"], ["--lint"], ["--summary", "all"], ["-n", "all"], page):
            project.snakemake("--cores", "1", *looking)
        assert project.state() == before
        assert list((tmp_path / ".snakemake/locks").iterdir())
        ran = project.snakemake("--profile", "local", "all")
        assert ran.returncode != 0
        assert "cannot be locked" in ran.stdout
        assert project.processes_of("clip_weights")
    finally:
        os.kill(job, signal.SIGCONT)
    project.resume("cancel")
    assert not project.processes_of("clip_weights")
    assert not list((tmp_path / ".snakemake/locks").glob("*"))


def _a_long_training(params) -> None:
    params["recipes"]["mini"]["clip"]["pretraining"]["steps"] = 5000
