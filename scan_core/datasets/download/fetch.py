"""Downloads that survive broken connections, killed processes and dead servers.

Bytes go to `<target>.part`, which outlives the process, so that the next run continues where
this one stopped; the file gets its final name only when it is complete and verified.
"""

import hashlib
import json
import logging
import os
import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from scan_core.datasets.download.archives import Archive
from scan_core.datasets.download.attempts import (
    AddressFailedError,
    InterruptedTransferError,
    UnreachableError,
)
from scan_core.datasets.download.extraction import what_is_wrong
from scan_core.datasets.download.transfer import Pace, forget_origin, size_of, transfer
from scan_core.errors import InputError
from scan_core.storage.atomic import atomic_path


@dataclass(frozen=True)
class DownloadRecord:
    """What was obtained.

    Attributes:
        name: the archive's name.
        url: the address it came from, or None if it was placed by hand.
        bytes: size.
        sha256: hexadecimal.
        checksum: the published checksum it was verified against, or None.
    """

    name: str
    url: str | None
    bytes: int
    sha256: str
    checksum: str | None


@dataclass(frozen=True)
class Retries:
    """How patient a download is. Times in seconds.

    Attributes:
        attempts: attempts in a row that bring nothing new before an address is given up.
        first_delay: mean wait after a broken attempt; doubles with each that brought nothing new.
        longest_delay: bound of every wait, also of one that the server asks for.
        timeout: silence after which a connection counts as broken.
        least_speed: bytes a second over any `timeout` seconds; a slower connection counts as
            broken too, and what it brought as nothing new.
    """

    attempts: int = 8
    first_delay: float = 1.0
    longest_delay: float = 300.0
    timeout: float = 60.0
    least_speed: float = 1000.0


def download(
    archive: Archive, target: Path, manual_folder: Path, retries: Retries | None = None
) -> DownloadRecord:
    """Obtain an archive: from `manual_folder` if it lies there, else from its addresses.

    Args:
        archive: what to obtain.
        target: the final path; appears complete and verified or not at all.
        manual_folder: a file `<manual_folder>/<archive.name>` is verified and linked to `target`
            instead of downloading.
        retries: patience with each address; the defaults suit public servers.

    Returns:
        the record of what lies at `target`.

    Raises:
        InputError: the archive needs registration and was not placed by hand; the file placed by
            hand is not the published one; every address failed; or the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    by_hand = manual_folder / archive.name
    if by_hand.exists():
        return _link(archive, by_hand, target)
    if archive.how_to_obtain is not None:
        raise InputError(
            f"{archive.name} cannot be downloaded. {archive.how_to_obtain} "
            f"Place it at {by_hand} and run again."
        )
    part = target.with_name(f"{target.name}.part")
    failures = []
    for url in archive.urls:
        try:
            sha256 = _from_address(archive, url, part, retries or Retries())
        except AddressFailedError as failure:
            logging.warning("%s: %s", url, failure)
            failures.append(f"{url}: {failure}")
            continue
        size = part.stat().st_size
        part.replace(target)
        forget_origin(part)
        return DownloadRecord(archive.name, url, size, sha256, archive.checksum)
    raise InputError(
        f"{archive.name} could not be downloaded. {'; '.join(failures)}. Run again later, or "
        f"obtain the file in another way and place it at {by_hand}."
    )


def obtained_before(archive: Archive, target: Path, record: Path) -> DownloadRecord | None:
    """The record of what lies at `target`, if it is whole.

    Another project that shares the folder may have obtained it while this one waited.

    Args:
        archive: what is to be obtained.
        target: its final path.
        record: JSON, written with it.
    """
    try:
        found = DownloadRecord(**json.loads(record.read_text(encoding="utf-8")))
        problem, sha256 = _verify(archive, target)
    except (OSError, ValueError, TypeError):
        return None
    return found if not problem and sha256 == found.sha256 else None


def _link(archive: Archive, source: Path, target: Path) -> DownloadRecord:
    problem, sha256 = _verify(archive, source)
    if problem:
        raise InputError(
            f"{source} is not the published archive: {problem}. Replace it, or remove it to "
            "have the archive downloaded."
        )
    # Renaming a link over another link to the same file would do nothing.
    target.unlink(missing_ok=True)
    with atomic_path(target) as temporary:
        try:
            os.link(source.resolve(), temporary)
        except OSError:  # another device, or a file system without links
            shutil.copyfile(source, temporary)
    return DownloadRecord(archive.name, None, target.stat().st_size, sha256, archive.checksum)


def _from_address(archive: Archive, url: str, part: Path, retries: Retries) -> str:
    """Complete and verify `part` from one address; return its sha256."""
    _complete(archive, url, part, retries)
    problem, sha256 = _verify(archive, part)
    if not problem:
        return sha256
    # A part begun by an earlier run, or a damaged transfer: once more, from nothing.
    logging.warning("%s: %s; starting again", url, problem)
    part.unlink()
    _complete(archive, url, part, retries)
    problem, sha256 = _verify(archive, part)
    if problem:
        part.unlink()
        raise AddressFailedError(f"delivers another file than the published one: {problem}")
    return sha256


def _complete(archive: Archive, url: str, part: Path, retries: Retries) -> None:
    """Attempt the transfer until `part` is complete, patiently as long as it gets further."""
    furthest = size_of(part)
    fruitless = 0
    answered = False
    pace = Pace(retries.timeout, retries.least_speed)
    while True:
        try:
            return transfer(archive, url, part, pace)
        except (InterruptedTransferError, UnreachableError) as failure:
            if isinstance(failure, UnreachableError):
                if not answered:
                    raise
                interruption = InterruptedTransferError(str(failure))
            else:
                interruption = failure
            size = size_of(part)
            further = size > furthest and not interruption.fruitless
            answered = answered or size > furthest
            fruitless = 0 if further else fruitless + 1
            furthest = max(furthest, size)
            if fruitless >= retries.attempts:
                raise AddressFailedError(
                    f"{interruption}; {fruitless} attempts in a row brought nothing new"
                ) from None
            backoff = retries.first_delay * 2.0**fruitless * random.uniform(0.5, 1.5)
            wait = min(max(backoff, interruption.wait), retries.longest_delay)
            logging.info("%s: %s at byte %d; again in %.1f s", url, interruption, size, wait)
            time.sleep(wait)


def _verify(archive: Archive, path: Path) -> tuple[str | None, str]:
    """What is wrong with a complete file (None: nothing), and its sha256."""
    algorithm, _, expected = (archive.checksum or "").partition(":")
    digests = {name: hashlib.new(name) for name in {"sha256", algorithm} - {""}}
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            for digest in digests.values():
                digest.update(block)
    sha256 = digests["sha256"].hexdigest()
    size = path.stat().st_size
    if archive.bytes is not None and size != archive.bytes:
        return f"expected {archive.bytes} bytes, got {size}", sha256
    if algorithm and (got := digests[algorithm].hexdigest()) != expected:
        return f"expected {algorithm} {expected}, got {got}", sha256
    return None if algorithm else what_is_wrong(archive.name, path), sha256
