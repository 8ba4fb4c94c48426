"""What a workflow that died has left running: jobs of SLURM and processes of this machine."""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scan_core.errors import InputError

_log = logging.getLogger(__name__)
_POLL = 5.0
_REPORT = 60.0
# An outage of SLURM's controller that is waited for.
_OUTAGE = 300.0


@dataclass(frozen=True)
class Process:
    """A process with the workflow's folder as its own.

    Attributes:
        number: of it.
        words: of its command line.
        in_job: whether it belongs to a job of SLURM.
        of_workflow: whether a workflow of this machine has started it, and not a person.
        parent: the process that it belongs to.
    """

    number: int
    words: list[str]
    in_job: bool
    of_workflow: bool
    parent: int


@dataclass(frozen=True)
class Leftovers:
    """Of one workflow: what was started from its folder, and by it.

    Attributes:
        folder: where the workflow was started, absolute, without links.
        comment: with which the comments of its jobs begin. A person's own jobs from the same
            folder have another one, or none.
        module: with which the names of the modules begin that its processes run.
    """

    folder: Path
    comment: str
    module: str

    def cancel(self) -> None:
        """Tell everything to end."""
        if jobs := self.jobs():
            _log.info("cancelling the jobs %s", ", ".join(jobs))
            subprocess.run(["scancel", *jobs], check=True)
        for process in self.local():
            _log.info("ending the process %d", process)
            os.kill(process, signal.SIGTERM)

    def wait(self) -> None:
        """Return when nothing runs any more."""
        reported = -_REPORT
        while left := [*self.jobs(), *map(str, self.local())]:
            if time.monotonic() - reported > _REPORT:
                reported = time.monotonic()
                _log.info("waiting for %s, left behind in %s", ", ".join(left), self.folder)
            time.sleep(_POLL)

    def jobs(self) -> list[str]:
        """Numbers of its jobs that have not ended.

        Raises:
            InputError: there is no SLURM here, or it does not answer for minutes.
        """
        jobs = []
        for line in _queue().splitlines():
            number, comment, folder = line.split("|", 2)
            if comment.startswith(self.comment) and Path(folder).resolve() == self.folder:
                jobs.append(number)
        return jobs

    def local(self) -> list[int]:
        """Numbers of its processes on this machine that are no part of a job."""
        return [
            process.number
            for process in processes_in(self.folder)
            if not process.in_job and any(w.startswith(self.module) for w in process.words[:3])
        ]


def processes_in(folder: Path) -> Iterator[Process]:
    """All processes of this person in a folder, but for this one."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            here = (entry / "cwd").resolve(strict=True) == folder
            variables = (entry / "environ").read_bytes()
            # Behind the name, which may have spaces: the state, then the parent.
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # ended meanwhile, or somebody else's
        if here:
            in_job = b"SLURM_JOB_ID=" in variables
            of_workflow = b"SCAN_WORKFLOW=" in variables and not in_job
            yield Process(int(entry.name), words, in_job, of_workflow, parent)


def _queue() -> str:
    """This person's jobs in SLURM's queue: number, comment and folder."""
    command = ["squeue", "--noheader", "--me", "--format=%i|%k|%Z"]
    give_up = time.monotonic() + _OUTAGE
    while True:
        try:
            answer = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            raise InputError("squeue is not there: run this where jobs are submitted") from None
        if answer.returncode == 0:
            return answer.stdout
        if time.monotonic() > give_up:
            raise InputError(f"SLURM does not answer: {answer.stderr.strip()}")
        _log.info("SLURM does not answer; trying again")
        time.sleep(_POLL)
