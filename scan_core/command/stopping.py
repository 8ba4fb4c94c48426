"""Being asked to stop: what was begun is put away, and the same command continues it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# A preemption, the end of a job's time, and Ctrl-C.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interrupted(SystemExit):
    """The process was asked to stop, and what it had done is on disk.

    Args:
        number: of the signal; the exit status is 128 more.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


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
