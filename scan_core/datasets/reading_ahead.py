"""Files are read and decoded by threads while the networks run."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(
    read: Callable[[T], R], items: Iterable[T], workers: int
) -> Generator[R, None, None]:
    """What `read` gives for every item, in order, two for each worker before they are asked for.

    Pillow and NumPy let other threads run while they decode, so no further process is needed.

    Args:
        read: of one item; called in a thread.
        items: to be read.
        workers: threads; 0: each item is read when it is asked for.

    Raises:
        Exception: what `read` raised, at its item's turn.
    """
    if not workers:
        yield from map(read, items)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
