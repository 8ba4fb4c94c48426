"""Clear the way after Snakemake has died, without doing anything twice; then start it again."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from scan_core.errors import InputError
from scan_core.params.command_line import run


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
        if "snakemake" in [Path(word).name for word in words[:3]] and "--mode" not in words:
            running = f"Snakemake still runs in {folder} (process {process}): nothing to resume"
            raise InputError(f"{running}. To restart it, end it first, by Ctrl-C once.")
    if how == "cancel":
        if jobs := _jobs(folder):
            logging.info("cancelling the jobs %s", ", ".join(jobs))
            subprocess.run(["scancel", *jobs], check=True)
        for process in _local(folder):
            os.kill(process, signal.SIGTERM)
    told = None
    while left := [*_jobs(folder), *map(str, _local(folder))]:
        if left != told:
            logging.info("waiting for %s, left behind in %s", ", ".join(left), folder)
        told = left
        time.sleep(2)
    subprocess.run(["snakemake", "--cores", "1", "--unlock"], check=True, stdout=sys.stderr)


def _processes(folder: Path) -> Iterator[tuple[int, list[str]]]:
    """All other processes of this person in a folder that are no part of a job of SLURM."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended meanwhile, or somebody else's
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            here = (entry / "cwd").resolve(strict=True) == folder
            in_job = b"SLURM_JOB_ID=" in (entry / "environ").read_bytes()
            if here and not in_job and int(entry.name) != os.getpid():
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
    if shutil.which(command[0]) is None:
        return []
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        if not (folder / ".snakemake/slurm_logs").exists():
            return []  # SLURM is installed and no cluster's, and nothing was submitted from here
        raise InputError(f"SLURM does not answer, try again: {answer.stderr.strip()}")
    found = (line.split("|", 2) for line in answer.stdout.splitlines())
    # So Snakemake's executor comments what it submits; a person's own jobs have other comments.
    return [
        n for n, about, at in found if about.startswith("rule_") and Path(at).resolve() == folder
    ]


if __name__ == "__main__":
    run(resume)
