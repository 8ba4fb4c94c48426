"""The beginning of a server's answer, within a bounded time, or why there will be none."""

import errno
import queue
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping

import requests

from scan_core.datasets.download.attempts import (
    AddressFailedError,
    InterruptedTransferError,
    UnreachableError,
)

# Trying again does not change them.
_PERMANENT = (
    requests.TooManyRedirects,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidProxyURL,
)
# A name server that is out of order, not a name that does not exist.
_TEMPORARY_NAME_FAILURE = (socket.EAI_AGAIN,)
_NO_WAY = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH)


def answer_to(url: str, headers: Mapping[str, str], timeout: float) -> requests.Response:
    """Ask, and wait for status and headers of the answer; the body is still to be read.

    Args:
        url: address.
        headers: of the request.
        timeout: silence after which the connection counts as broken, seconds. Status and headers
            have to be complete after twice that time, even if there never is silence.

    Raises:
        UnreachableError: nobody answers there: no such name, nobody listening, no way to it.
        AddressFailedError: this address will not deliver, such as for a wrong certificate.
        InterruptedTransferError: another attempt may get further.
    """
    answers: queue.Queue[requests.Response | Exception] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(requests.get(url, headers=dict(headers), stream=True, timeout=timeout))
        except Exception as error:  # raised again in the thread that waits
            answers.put(error)

    # Of a request under way, only its single reads can be bounded: a server that sends a letter
    # of a header now and then would be waited for without end.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=2 * timeout)
    except queue.Empty:
        raise InterruptedTransferError(f"no answer within {2 * timeout:g} s") from None
    if isinstance(answer, requests.Response):
        return answer
    if isinstance(answer, requests.RequestException):
        raise _meaning(answer) from answer
    if isinstance(answer, UnicodeError | ValueError):  # from the depths of URL parsing
        raise AddressFailedError(f"{type(answer).__name__}: {answer}") from answer
    raise answer


def _meaning(error: requests.RequestException) -> Exception:
    """What a failed request says of its address."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, _PERMANENT):
        return AddressFailedError(text)
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return AddressFailedError(f"its certificate is refused: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError) and not isinstance(
            cause, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError
        ):
            return AddressFailedError(f"no encrypted connection: {cause.reason or cause}")
        if isinstance(cause, socket.gaierror) and cause.errno not in _TEMPORARY_NAME_FAILURE:
            return UnreachableError(f"there is no such host: {cause.strerror}")
        if isinstance(cause, OSError) and cause.errno in _NO_WAY:
            return UnreachableError(f"nobody answers: {cause.strerror}")
    return InterruptedTransferError(text)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that stand behind it, of which libraries show only some."""
    waiting: list[object] = [error]
    seen = set[int]()
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None)]
            waiting += list(cause.args)
