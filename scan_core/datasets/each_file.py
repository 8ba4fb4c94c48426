"""The same work on many files, in processes of which any may die on one of them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 8  # items that a process is handed at once


def each_file(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result | None]:
    """Do some work on every item.

    A decoder that crashes, or takes more memory than there is, ends its process. Then the items
    that were being worked on are done again, each in a process of its own, so that one is to blame.

    Args:
        work: may be pickled.
        items: likewise.
        workers: processes.

    Yields:
        results in the order of the items; None for an item whose process died.
    """
    done = 0
    while done < len(items):
        try:
            with ProcessPoolExecutor(workers) as pool:
                for result in pool.map(work, items[done:], chunksize=_CHUNK):
                    done += 1
                    yield result
        except BrokenProcessPool:
            suspects = items[done : done + workers * _CHUNK]
            for item in suspects:
                done += 1
                yield _alone(work, item)


def _alone(work: Callable[[Item], Result], item: Item) -> Result | None:
    try:
        with ProcessPoolExecutor(1) as pool:
            return pool.submit(work, item).result()
    except BrokenProcessPool:
        return None
