"""Being asked to stop: what was begun is put away, and the same command continues it."""

import logging
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# A preemption, the end of a job's time, and Ctrl-C.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

_log = logging.getLogger(__name__)


class Interrupted(SystemExit):
    """The process was asked to stop, and what it had done is on disk.

    Args:
        number: of the signal; the exit status is 128 more.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = number


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that gets the number of each signal to stop that arrives.

    Whoever works looks at it now and then. A second Ctrl-C ends the process at once.
    """
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and number in received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, remember) for number in STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_stop_signals() -> None:
    """Leave it to the process that started this one when to end."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def put_back_into_queue(stopped_by: int) -> None:
    """Have SLURM start this job again, if it said before the job's time limit that it would end it.

    A job that is put back keeps its number and is not taken for one that failed. Where that is not
    allowed, the process ends with its exit status, and Snakemake submits the job again.

    Args:
        stopped_by: number of the signal.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if stopped_by != signal.SIGUSR1 or job is None:
        return
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return
    _log.info("job %s is put back into SLURM's queue, and continues there", job)
