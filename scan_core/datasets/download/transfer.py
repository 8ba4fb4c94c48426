"""One attempt to bring a file over HTTP: from the start, or from where the last one ended.

What the server said of the file is kept in `<part>.json`, so that an attempt made later, by
another process, recognises a file that has changed in between. Whatever a server sends, no more
is stored than the file can have, and no attempt goes on that gets nowhere.
"""

import json
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from scan_core.datasets.download.answers import answer_to
from scan_core.datasets.download.archives import Archive
from scan_core.datasets.download.attempts import AddressFailedError, InterruptedTransferError
from scan_core.errors import DiskFullError
from scan_core.storage.atomic import write_text
from scan_core.storage.full_disk import room_for

_log = logging.getLogger(__name__)
_CHUNK = 1 << 16
_PROGRESS_SECONDS = 5.0  # standard error is usually a log file
_TEMPORARY_STATUS = frozenset({408, 425, 429})
# Bytes of a file of which neither its publisher nor its server says how long it is: this many
# times the size that is known roughly, or where not even that is known, so many.
_ROUGHLY = 2
_LONGEST_UNKNOWN = 10_000_000_000


@dataclass(frozen=True)
class _Origin:
    """Where the bytes of a partial file come from, to tell whether they may be continued."""

    url: str
    validator: str | None
    total: int | None


@dataclass(frozen=True)
class Pace:
    """When an attempt counts as broken.

    Attributes:
        timeout: seconds of silence; also, for how long the beginning of an answer may take.
        least_speed: bytes a second, over any `timeout` seconds.
    """

    timeout: float
    least_speed: float


def transfer(archive: Archive, url: str, part: Path, pace: Pace) -> None:
    """Make one request and append to `part`, or write it anew; return if it is complete.

    Args:
        archive: what is transferred.
        url: one of its addresses.
        part: the partial file; may hold bytes of an earlier attempt.
        pace: when the attempt counts as broken.

    Raises:
        InterruptedTransferError: another attempt may get further.
        AddressFailedError: this address will not deliver the archive.
        DiskFullError: the disk is full, or too full for the rest of the file.
    """
    origin = _continuable(archive, url, part)
    offset = size_of(part) if origin else 0
    if origin and offset == origin.total:
        return
    with _request(url, offset, origin, pace.timeout) as response:
        _check_answer(archive, response)
        if response.status_code == 200:  # also the answer of a server that ignores ranges
            offset = 0
            now = _Origin(url, _validator(response), _content_length(response))
        else:
            start, total = _content_range(response)
            now = _Origin(url, _validator(response), total)
            unchanged = origin is not None and _same_file(origin, now)
            if unchanged and response.status_code == 416 and total == offset:
                return
            if not unchanged or start != offset:
                part.unlink(missing_ok=True)
                raise InterruptedTransferError("the file has changed or cannot be continued")
        if archive.bytes is not None and now.total not in (None, archive.bytes):
            raise AddressFailedError(f"offers {now.total} bytes; the archive has {archive.bytes}")
        expected = now.total if now.total is not None else archive.bytes
        _check_space(part, expected, offset)
        longest = expected if expected is not None else _longest(archive)
        _store(response, part, now, offset, longest, pace)
    if expected is not None and size_of(part) != expected:
        raise InterruptedTransferError(f"the connection closed before byte {expected}")


def _request(url: str, offset: int, origin: _Origin | None, timeout: float) -> requests.Response:
    # Archives must arrive as they are stored, not compressed for the transfer.
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if origin and origin.url == url and origin.validator:
            headers["If-Range"] = origin.validator
    return answer_to(url, headers, timeout)


def _continuable(archive: Archive, url: str, part: Path) -> _Origin | None:
    """The origin of `part` if this address may continue it.

    Without a checksum to reveal a splice, only the address it came from may, and only if the
    server said anything by which a changed file would show.
    """
    if not size_of(part) or not _origin_path(part).exists():
        return None
    try:
        origin = _Origin(**json.loads(_origin_path(part).read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        _log.warning("%s is damaged: the download begins anew", _origin_path(part))
        return None
    recognisable = origin.url == url and (origin.validator or origin.total is not None)
    return origin if archive.checksum or recognisable else None


def _same_file(before: _Origin, now: _Origin) -> bool:
    """Whether nothing that both answers say of the file differs."""
    same_total = before.total is None or now.total is None or before.total == now.total
    comparable = before.url == now.url and before.validator and now.validator
    return same_total and (not comparable or before.validator == now.validator)


def _longest(archive: Archive) -> int:
    """How many bytes are taken for an archive that nobody has told the size of."""
    return round(_ROUGHLY * archive.approximate_gb * 1e9) or _LONGEST_UNKNOWN


def _check_answer(archive: Archive, response: requests.Response) -> None:
    """Pass 200, and the answers to a range: 206, and 416 if nothing lies behind its start."""
    status = response.status_code
    if status in _TEMPORARY_STATUS or status >= 500:
        raise InterruptedTransferError(f"status {status} {response.reason}", _retry_after(response))
    if status == 416 and "Range" in response.request.headers:
        return
    if status != 200 and not (status == 206 and "Range" in response.request.headers):
        raise AddressFailedError(f"status {status} {response.reason}")
    if "text/html" in response.headers.get("Content-Type", ""):
        raise AddressFailedError("answers with a web page instead of the file")
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    # Of a `.gz` file, some servers say so although it is the file itself that is compressed.
    itself = archive.name.endswith(".gz") and encoding in ("gzip", "x-gzip")
    if encoding not in ("", "identity") and not itself:
        raise AddressFailedError(f"sends the file encoded ('{encoding}'), which was not asked for")


def _check_space(part: Path, total: int | None, offset: int) -> None:
    free = shutil.disk_usage(part.parent).free + size_of(part) - offset
    if total is not None and total - offset > free:
        raise DiskFullError(
            f"{part.parent} has {free / 1e9:.2f} GB free, but {(total - offset) / 1e9:.2f} GB "
            f"of {part.stem} are still to come. Free some space and run again; what has been "
            "downloaded is kept."
        )


def _store(
    response: requests.Response, part: Path, now: _Origin, offset: int, longest: int, pace: Pace
) -> None:
    bar = tqdm(
        desc=part.stem,
        initial=offset,
        total=now.total,
        unit="B",
        unit_scale=True,
        mininterval=_PROGRESS_SECONDS,
    )
    size = offset
    with room_for(part, now.total, kept="what has been downloaded"):
        if not offset:
            # Emptied before its origin is noted: bytes never stand beside the origin of others.
            part.write_bytes(b"")
            write_text(_origin_path(part), json.dumps(asdict(now)))
        with bar, part.open("ab") as file:
            for chunk in _chunks(response, pace):
                size += len(chunk)
                if size > longest:
                    file.truncate(offset)
                    raise AddressFailedError(f"sends more than the {longest} bytes of the file")
                file.write(chunk)
                bar.update(len(chunk))


def _chunks(response: requests.Response, pace: Pace) -> Iterator[bytes]:
    """What arrives, as long as it does not arrive too slowly."""
    since, received = time.monotonic(), 0
    try:
        while chunk := response.raw.read1(_CHUNK, decode_content=False):
            yield chunk
            received += len(chunk)
            if (elapsed := time.monotonic() - since) > pace.timeout:
                if received < pace.least_speed * elapsed:
                    raise InterruptedTransferError(
                        f"only {received / elapsed:.0f} bytes a second arrive", fruitless=True
                    )
                since, received = time.monotonic(), 0
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise InterruptedTransferError(f"the connection broke ({type(error).__name__})") from error


def size_of(path: Path) -> int:
    """Size of a file in bytes; 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def forget_origin(part: Path) -> None:
    """Remove what is remembered of a partial file's origin."""
    _origin_path(part).unlink(missing_ok=True)


def _origin_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _validator(response: requests.Response) -> str | None:
    """What `If-Range` may compare: a strong ETag, or else the date of the last change."""
    etag = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


def _content_length(response: requests.Response) -> int | None:
    value = response.headers.get("Content-Length", "")
    return int(value) if value.isdecimal() else None


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """First byte and size of the whole file, from `bytes 100-199/200` (416: `bytes */200`)."""
    span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    start = span.partition("-")[0]
    return (
        int(start) if start.isdecimal() else None,
        int(total) if total.isdecimal() else None,
    )


def _retry_after(response: requests.Response) -> float:
    """Seconds that the server asks to wait, given as a number or as a date; 0 if neither."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds()
