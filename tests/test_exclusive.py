"""Two commands that make one file: the second waits, or ends with the name of the first."""

import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scan_core.errors import InputError
from scan_core.storage.locks import exclusive

ROOT = Path(__file__).parents[1]
COMMAND = """
import argparse, sys, time
from pathlib import Path
from scan_core.command import command_line

def main(arguments):
    print("made", flush=True)
    time.sleep(arguments.seconds)

parser = argparse.ArgumentParser()
parser.add_argument("--output", type=Path)
parser.add_argument("--seconds", type=float)
command_line.run(parser, main)
"""


def _start(output: Path, seconds: float, **variables: str) -> subprocess.Popen:
    command = [sys.executable, "-c", COMMAND, "--output", output, "--seconds", str(seconds)]
    process = subprocess.Popen(
        command, cwd=ROOT, env={"PATH": "/usr/bin:/bin", **variables},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "made\n"
    return process


def test_one_makes_it_at_a_time(tmp_path):
    target = tmp_path / "results/model.safetensors"
    first = _start(target, 60, SLURM_JOB_ID="17")
    with (
        pytest.raises(InputError, match=rf"made by job 17, process {first.pid} on .*\.resume"),
        exclusive(target, patience=0.2),
    ):
        pass
    with exclusive(target.with_name("another.safetensors"), patience=0):
        pass
    first.send_signal(signal.SIGKILL)
    first.wait()
    with exclusive(target, patience=0):
        assert [path.name for path in target.parent.iterdir()] == [".model.safetensors.lock"]
    assert list(target.parent.iterdir()) == []


def test_the_second_goes_on_when_the_first_is_done(tmp_path):
    first = _start(tmp_path / "model", 1)
    start = time.monotonic()
    with exclusive(tmp_path / "model", patience=30):
        assert 0.2 < time.monotonic() - start < 10
    assert first.wait() == 0


def test_the_other_processes_of_one_training_do_not_exclude_each_other(tmp_path):
    first = _start(tmp_path / "model", 60, SLURM_PROCID="0")
    second = _start(tmp_path / "model", 0, SLURM_PROCID="1")
    assert second.wait(timeout=20) == 0
    first.kill()
    first.wait()


def test_on_a_file_system_without_locks_a_living_maker_counts(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    target, lock = tmp_path / "model", tmp_path / ".model.lock"
    with (
        exclusive(target, patience=0),
        pytest.raises(InputError, match="is being made by process"),
        exclusive(target, patience=0.2),
    ):
        pass
    assert not lock.exists()
    dead = subprocess.Popen(["true"])
    dead.wait()
    with exclusive(target, patience=0):
        record = json.loads(lock.read_text())
    lock.write_text(json.dumps({**record, "process": dead.pid}))
    with exclusive(target, patience=0):
        assert json.loads(lock.read_text()) == record
    lock.write_text(json.dumps({**record, "host": "elsewhere", "job": None}))
    with pytest.raises(InputError, match=r"on elsewhere.*delete .*\.model\.lock"):
        exclusive(target, patience=0).__enter__()
