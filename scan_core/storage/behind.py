"""Results are written by a thread while the next ones are computed."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any


class WritingBehind:
    """Calls functions one after the other, in a thread of its own.

    A context: at its end all that was submitted has been done. What a call raised is raised by a
    later `submit` or by the end, whichever comes first, and nothing more is begun after it.

    Args:
        most: calls that may wait; with more, `submit` waits for the oldest.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[Any]] = deque()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Have something done soon.

        Raises:
            Exception: what an earlier call raised.
        """
        self._waiting.append(self._pool.submit(function, *arguments))
        while self._waiting and (len(self._waiting) > self._most or self._waiting[0].done()):
            self._waiting.popleft().result()

    def finish(self) -> None:
        """Return when all that was submitted is done.

        Raises:
            Exception: what a call raised.
        """
        while self._waiting:
            self._waiting.popleft().result()

    def __enter__(self) -> "WritingBehind":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.finish()  # what was computed before something else went wrong is written, too
        finally:
            self._pool.shutdown(cancel_futures=True)
