"""The same work on many files, in processes of which any may die on one of them."""

import ctypes
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1  # of Linux's prctl


def each_file(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result | None]:
    """Do some work on every item.

    A decoder that crashes, or takes more memory than there is, ends its process. Then the items
    that were being worked on are done again, each in a process of its own, so that one is to blame.

    Args:
        work: may be pickled.
        items: likewise.
        workers: processes. One does an item when the one before it has been taken.

    Yields:
        results in the order of the items; None for an item whose process died.
    """
    done = 0
    while workers > 1 and done < len(items):
        try:
            with _processes(workers) as pool:
                for result in pool.map(work, items[done:]):
                    done += 1
                    yield result
        except BrokenProcessPool:
            suspects = items[done : done + 2 * workers]
            done += len(suspects)
            yield from _one_by_one(work, suspects)
    yield from _one_by_one(work, items[done:])


def _one_by_one(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result | None]:
    remaining = iter(items)
    died = True
    while died:
        died = False
        with _processes(1) as pool:
            for item in remaining:
                try:
                    yield pool.submit(work, item).result()
                except BrokenProcessPool:
                    yield None
                    died = True
                    break


def _processes(number: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(number, initializer=_die_with_the_parent)


def _die_with_the_parent() -> None:
    """A process that waits for work does not notice when who was to send it has been killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
