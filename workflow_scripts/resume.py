"""Clear the way after Snakemake has died, without doing anything twice; then start it again."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from scan_core.errors import InputError
from scan_core.params.command_line import run

_POLL = 2.0
_REPORT = 60.0
# An outage of SLURM's controller that is waited for.
_OUTAGE = 300.0


def resume(how: Literal["wait", "cancel"], /) -> None:
    """Clear the way after Snakemake has died, without doing anything twice; then start it again.

    Looks for what a dead Snakemake has left behind in this folder: jobs that it submitted to SLURM,
    and processes of its rules on this machine. When nothing is left, Snakemake's lock is removed.

        python -m workflow_scripts.resume wait && snakemake --profile slurm all

    Args:
        how: `wait` lets them end, and keeps what they make; `cancel` ends them, and trainings
            continue from their last checkpoint.
    """
    folder = Path.cwd().resolve()
    for process, words in _processes(folder):
        # Snakemakes that jobs start for themselves are given a `--mode`.
        if "snakemake" in map(_program, words[:3]) and "--mode" not in words:
            raise InputError(
                f"Snakemake still runs in {folder} (process {process}): there is nothing "
                "to resume. If it is to be restarted, end it first, by Ctrl-C once."
            )
    if how == "cancel":
        if jobs := _jobs(folder):
            logging.info("cancelling the jobs %s", ", ".join(jobs))
            subprocess.run(["scancel", *jobs], check=True)
        for process in _local(folder):
            logging.info("ending the process %d", process)
            os.kill(process, signal.SIGTERM)
    reported = -_REPORT
    while left := [*_jobs(folder), *map(str, _local(folder))]:
        if time.monotonic() - reported > _REPORT:
            reported = time.monotonic()
            logging.info("waiting for %s, left behind in %s", ", ".join(left), folder)
        time.sleep(_POLL)
    subprocess.run(["snakemake", "--cores", "1", "--unlock"], check=True, stdout=sys.stderr)


def _program(word: str) -> str:
    return Path(word).name


def _processes(folder: Path) -> Iterator[tuple[int, list[str]]]:
    """All other processes of this person in a folder that are no part of a job of SLURM."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                here = (entry / "cwd").resolve(strict=True) == folder
                in_job = b"SLURM_JOB_ID=" in (entry / "environ").read_bytes()
            except OSError:
                continue  # ended meanwhile, or somebody else's
            if here and not in_job:
                yield int(entry.name), words


def _local(folder: Path) -> list[int]:
    """Processes on this machine of the rules' scripts, which are named in their first words."""
    return [
        process
        for process, words in _processes(folder)
        if any(word.startswith("workflow_scripts.") for word in words[:3])
        and "workflow_scripts.resume" not in words
    ]


def _jobs(folder: Path) -> list[str]:
    """The numbers of the jobs that Snakemake submitted from a folder; none without SLURM."""
    command = ["squeue", "--noheader", "--me", "--format=%i|%k|%Z"]
    give_up = time.monotonic() + _OUTAGE
    while True:
        try:
            answer = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            return []
        if answer.returncode == 0:
            break
        if time.monotonic() > give_up:
            raise InputError(f"SLURM does not answer: {answer.stderr.strip()}")
        time.sleep(_POLL)
    found = (line.split("|", 2) for line in answer.stdout.splitlines())
    # So Snakemake's executor comments what it submits; a person's own jobs have other comments.
    return [
        n for n, about, at in found if about.startswith("rule_") and Path(at).resolve() == folder
    ]


if __name__ == "__main__":
    run(resume)
