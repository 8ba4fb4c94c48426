"""Files are read and decoded by threads while the networks run."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from scan_core.errors import InputError

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


def outcomes(
    work: Callable[[T], R], items: Sequence[T], workers: int, name: str
) -> Iterator[R | InputError]:
    """What `work` gives for every item, or the `InputError` that it raises, in order.

    Args:
        work: on one item; called in a thread.
        items: images, or what belongs to them.
        workers: threads.
        name: of the progress bar.
    """

    def outcome(item: T) -> R | InputError:
        try:
            return work(item)
        except InputError as error:
            return error

    found = read_ahead(outcome, items, workers)
    yield from tqdm(found, name, len(items), unit="img", mininterval=5)
