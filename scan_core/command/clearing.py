"""One command goes on after any death: what a workflow that died has left is cleared away.

A Snakemake that is killed leaves its lock, and with it the command that started it would stop;
its jobs may still run. So every Snakemake of this project holds a lock of its own while it lives,
which ends with it: who can take it knows that nobody else is at work here.
"""

import atexit
import logging
import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from scan_core.command.leftovers import Leftovers, processes_in
from scan_core.errors import InputError
from scan_core.storage.atomic import remove_leftovers
from scan_core.storage.locks import exclusive, remove_dead_locks

# In the environment of every job: whether a workflow has started it, or a person.
MARK = "SCAN_WORKFLOW"
# Targets and options of a Snakemake that fills no folder of data.
_NEEDS_NO_DATA = {"plan", "--lint", "--unlock", "--summary", "--list-rules", "--dag", "--rulegraph"}
_GRACE = 120.0
_POLL = 0.2
_held = ExitStack()
_log = logging.getLogger(__name__)


def clear_the_way(folder: Path, arguments: Sequence[str]) -> None:
    """Take away the lock of a Snakemake that died in `folder`, and end what it left running.

    Processes of this machine are told to end, and trainings write a checkpoint then; jobs of SLURM
    are waited for, since they may have come far. Nothing is done while another Snakemake lives, or
    by a dry run.

    Args:
        folder: of the workflow.
        arguments: of this Snakemake.

    Raises:
        InputError: SLURM has jobs of it, but does not answer.
    """
    if _only_looks(arguments):
        return
    state = folder / ".snakemake"
    try:
        _held.enter_context(exclusive(state / "workflow", patience=0))
    except InputError:
        return  # Snakemake itself says so
    except OSError as error:  # a folder in which nothing can be written
        _log.warning("whether another Snakemake is at work here is not known: %s", error)
        return
    os.environ[MARK] = str(os.getpid())
    atexit.register(_held.close)
    _end_processes(folder)
    if locks := list((state / "locks").glob("*")):
        _log.warning("a Snakemake died in %s: what it left is cleared away", folder)
        left = Leftovers(folder.resolve(), comment="rule_", module="workflow_scripts.")
        of_cluster = [*arguments, os.environ.get("SNAKEMAKE_PROFILE", "")]
        if any("slurm" in word for word in of_cluster) and (jobs := left.jobs()):
            _log.warning(
                "its jobs %s are waited for; `python -m workflow_scripts.resume cancel` ends them",
                ", ".join(jobs),
            )
            left.wait()
    for lock in locks:
        lock.unlink(missing_ok=True)


def wait_for_others(data: Path, arguments: Sequence[str], is_made: Callable[[], bool]) -> None:
    """Be the only workflow that fills a folder of data, which several projects may share.

    Snakemake deletes what a rule makes before it makes it again, whoever else has just made it. So
    while another workflow fills the folder this one waits, until the other ends or all that this
    one needs is there.

    Args:
        data: the folder.
        arguments: of this Snakemake; a dry run and a plan wait for nobody, and leave nothing.
        is_made: whether all that is needed is there.
    """
    if _only_looks(arguments) or _NEEDS_NO_DATA.intersection(arguments):
        return
    if os.environ.get(MARK) != str(os.getpid()):
        return  # of two in one folder, Snakemake itself refuses the second
    told = False
    while not is_made():
        try:
            _held.enter_context(exclusive(data / "filling", patience=0))
            return
        except InputError as error:
            if not told:
                _log.warning("waiting for another workflow: %s", error)
            told = True
        except OSError as error:  # a folder in which nothing can be written
            _log.warning("whether another workflow fills %s is not known: %s", data, error)
            return
        time.sleep(_POLL)


def _only_looks(arguments: Sequence[str]) -> bool:
    return any(re.fullmatch(r"--dry-?run|-[a-zA-Z]*n[a-zA-Z]*", word) for word in arguments)


def sweep(results: Path, data: Path, started: float) -> None:
    """Remove the temporary files and locks of writers that were killed before this workflow began.

    Args:
        results: of the recipe: nobody else writes there.
        data: root of the datasets, which other projects may share: those of dead writers go.
        started: when this workflow began, seconds since the epoch.
    """
    removed = remove_dead_locks(results)
    remove_leftovers(results)
    for folder in (data / "archives", *(data / "benchmarks").glob("*")):
        remove_leftovers(folder)
        removed += remove_dead_locks(folder, below=False)
    if removed:
        _log.info("%d files that killed processes have left are removed", removed)


def _end_processes(folder: Path) -> None:
    """End the processes that the workflow has left, and return when they are gone."""
    told = set[int]()
    give_up = time.monotonic() + _GRACE
    while left := {p.number: p for p in processes_in(folder.resolve()) if p.of_workflow}:
        late = time.monotonic() > give_up
        for number, process in left.items():
            # Workers are ended by the process that has started them.
            if late or (number not in told and process.parent not in left):
                told.add(number)
                _log.warning("ending the process %d that it has left", number)
                try:
                    os.kill(number, signal.SIGKILL if late else signal.SIGTERM)
                except ProcessLookupError:
                    continue
        time.sleep(_POLL)
