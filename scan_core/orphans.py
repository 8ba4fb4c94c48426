"""Jobs that a dead Snakemake has left behind, of one project alone."""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from scan_core.errors import InputError

_log = logging.getLogger(__name__)
_POLL = 5.0
_REPORT = 60.0
# An outage of SLURM's controller that is waited for.
_OUTAGE = 300.0


class Orphans:
    """What still runs of a project, in SLURM and on this machine.

    Args:
        project: its root, where Snakemake was started.
    """

    def __init__(self, project: Path) -> None:
        self.project = project.resolve()

    def refuse_if_alive(self) -> None:
        """Stop if a Snakemake of the project runs on this machine.

        Raises:
            InputError: it does.
        """
        if drivers := self._drivers():
            raise InputError(
                f"Snakemake still runs in {self.project} (process {drivers[0]}): there is nothing "
                "to resume. End it first, with Ctrl-C once, if it is to be restarted."
            )

    def cancel(self) -> None:
        """Tell everything to end."""
        if jobs := self._jobs():
            _log.info("cancelling the jobs %s", ", ".join(jobs))
            subprocess.run(["scancel", *jobs], check=True)
        for process in self._local():
            _log.info("ending the process %d", process)
            os.kill(process, signal.SIGTERM)

    def wait(self) -> None:
        """Return when nothing runs any more."""
        reported = -_REPORT
        while left := [*self._jobs(), *map(str, self._local())]:
            if time.monotonic() - reported > _REPORT:
                reported = time.monotonic()
                _log.info("waiting for %s, left behind in %s", ", ".join(left), self.project)
            time.sleep(_POLL)

    def _jobs(self) -> list[str]:
        """Numbers of the project's jobs that Snakemake has submitted and that have not ended.

        A person's own jobs that were submitted from the same folder are not among them.
        """
        command = ["squeue", "--noheader", "--me", "--format=%i|%k|%Z"]
        give_up = time.monotonic() + _OUTAGE
        while True:
            try:
                answer = subprocess.run(command, capture_output=True, text=True)
            except FileNotFoundError:
                raise InputError("squeue is not there: run this where jobs are submitted") from None
            if answer.returncode == 0:
                break
            if time.monotonic() > give_up:
                raise InputError(f"SLURM does not answer: {answer.stderr.strip()}")
            _log.info("SLURM does not answer; trying again")
            time.sleep(_POLL)
        jobs = []
        for line in answer.stdout.splitlines():
            number, comment, folder = line.split("|", 2)
            if comment.startswith("rule_") and Path(folder).resolve() == self.project:
                jobs.append(number)
        return jobs

    def _drivers(self) -> list[int]:
        """Snakemakes on this machine; those that jobs start for themselves have a `--mode`."""
        return [
            process
            for process, words, _ in self._processes()
            if "snakemake" in (Path(word).name for word in words[:3]) and "--mode" not in words
        ]

    def _local(self) -> list[int]:
        """The commands of local rules, such as downloads, on this machine."""
        return [
            process
            for process, words, in_job in self._processes()
            if not in_job and any(word.startswith("workflow_scripts.") for word in words[:3])
        ]

    def _processes(self) -> Iterator[tuple[int, list[str], bool]]:
        """Processes with the project as working folder: number, words, whether in a job."""
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal() or int(folder.name) == os.getpid():
                continue
            try:
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                here = (folder / "cwd").resolve(strict=True) == self.project
                in_job = b"SLURM_JOB_ID=" in (folder / "environ").read_bytes()
            except OSError:
                continue  # ended meanwhile, or somebody else's
            if here:
                yield int(folder.name), words, in_job
