"""Two commands that make one file: the second waits, or ends with the name of the first."""

import errno
import fcntl
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from scan_core.errors import InputError
from scan_core.storage.locks import exclusive, remove_dead_locks

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
        assert sorted(path.suffix for path in target.parent.iterdir()) == [".lock", ".maker"]
    assert list(target.parent.iterdir()) == []


def test_locks_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path):
    dead, living = (_start(tmp_path / name / "pairs.jsonl", 60) for name in ("dead", "living"))
    dead.kill()
    dead.wait()
    (tmp_path / "dead/package.lock").touch()  # not one of ours
    assert remove_dead_locks(tmp_path / "nowhere") == 0
    assert remove_dead_locks(tmp_path) == 1
    left = {path.name for path in tmp_path.glob("*/*")}
    assert left == {"package.lock", ".pairs.jsonl.lock", ".pairs.jsonl.maker"}
    with pytest.raises(InputError, match=rf"process {living.pid} "):
        exclusive(tmp_path / "living/pairs.jsonl", patience=0).__enter__()
    living.kill()
    living.wait()


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


# Not copies of this process: it has threads, whose locks a copy may find held for ever, and its
# handlers of signals would be the copy's.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


def _refuse(*arguments):
    raise OSError(errno.ENOLCK, "no locks available")


@pytest.fixture(params=["locks", "no locks"])
def file_system(request, monkeypatch) -> str:
    """Of both kinds: `flock` works, and `flock` answers that there are no locks."""
    if request.param == "no locks":
        monkeypatch.setattr("fcntl.flock", _refuse)
    return request.param


def _begin(file_system: str) -> None:
    """Put another process on the same kind of file system."""
    if file_system == "no locks":
        fcntl.flock = _refuse


def _alone(folder: Path) -> int:
    """Hold the lock for a moment; fails if somebody else holds it meanwhile."""
    with exclusive(folder / "model", patience=60, lease=2):
        witness = os.open(folder / "alone", os.O_CREAT | os.O_EXCL)
        time.sleep(0.001)
        os.close(witness)
        (folder / "alone").unlink()
    return 1


def test_of_two_hundred_contenders_each_is_alone(tmp_path, file_system):
    with CONTEXT.Pool(25, _begin, [file_system]) as pool:
        assert sum(pool.imap_unordered(_alone, [tmp_path] * 200)) == 200
    assert list(tmp_path.iterdir()) == []


def _hold_and_die(target: Path, file_system: str) -> None:
    process = CONTEXT.Process(target=_die_holding, args=(target, file_system))
    process.start()
    process.join(60)
    assert process.exitcode == 17


def _die_holding(target: Path, file_system: str) -> None:
    _begin(file_system)
    with exclusive(target, lease=2):
        os._exit(17)


def _take(target: Path) -> int:
    return _alone(target.parent)


def test_of_many_takers_after_a_dead_holder_each_is_alone(tmp_path, file_system):
    for _ in range(5):
        _hold_and_die(tmp_path / "model", file_system)
        with CONTEXT.Pool(8, _begin, [file_system]) as pool:
            assert sum(pool.imap_unordered(_take, [tmp_path / "model"] * 8)) == 8
    assert list(tmp_path.iterdir()) == []


def test_without_locks_a_holder_that_died_elsewhere_is_replaced(tmp_path, file_system, monkeypatch):
    """Such as a job that is requeued, under its own number, on another node."""
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    target = tmp_path / "model"
    _hold_and_die(target, file_system)
    for path in tmp_path.iterdir():
        path.write_text(path.read_text().replace(socket.gethostname(), "elsewhere"))
    start = time.monotonic()
    with exclusive(target, patience=20, lease=2):
        assert time.monotonic() - start < 10
    assert list(tmp_path.iterdir()) == []


def test_a_living_holder_counts_for_as_long_as_it_lives(tmp_path, file_system):
    target = tmp_path / "model"
    with (
        exclusive(target, patience=0, lease=1),
        pytest.raises(InputError, match=r"is being made by process \d+ on .* delete .*\.model"),
    ):
        _in_another_process(target, file_system)


def _in_another_process(target: Path, file_system: str) -> None:
    with ProcessPoolExecutor(1, CONTEXT, _begin, [file_system]) as pool:
        pool.submit(_try, target).result()


def _try(target: Path) -> None:
    with exclusive(target, patience=3, lease=1):
        pass
