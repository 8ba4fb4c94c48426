"""The public archives: their table, `archives.yaml`, and how curl fetches one of them."""

import logging
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from scan_core.datasets.extraction import check_archive
from scan_core.errors import InputError
from scan_core.storage.files import atomic_path, file_digest


@dataclass(frozen=True)
class Archive:
    """A file that somebody publishes; `archives.yaml` says what the fields mean."""

    name: str
    licence: str
    approximate_gb: float
    urls: tuple[str, ...] = ()
    bytes: int | None = None
    checksum: str | None = None
    extract_to: str = ""
    how_to_obtain: str | None = None


ARCHIVES: dict[str, Archive] = {
    name: Archive(name, **{**entry, "urls": tuple(entry.get("urls", ()))})
    for name, entry in YAML(typ="safe").load(Path(__file__).with_suffix(".yaml")).items()
}
# Weights of backbones: `segmenter.backbone.weights: download:<name>` -> the file.
BACKBONE_ARCHIVES = {Path(name).stem: name for name in ARCHIVES if name.endswith(".pth")}

# Exit statuses of curl: the address, answer or certificate is wrong, the disk full or the
# file too large; and: nobody answers, which may pass if there was an answer before.
_HOPELESS, _UNREACHABLE = {1, 3, 8, 23, 60, 63}, {6, 7}
_TEMPORARY_STATUS = {"408", "425", "429"}


def archive_named(name: str) -> Archive:
    """The archive of this name.

    Raises:
        InputError: there is none.
    """
    if name not in ARCHIVES:
        raise InputError(f"there is no archive {name}, only {', '.join(ARCHIVES)}")
    return ARCHIVES[name]


def download(
    archive: Archive,
    target: Path,
    manual_folder: Path,
    attempts: int = 8,
    silence: int = 60,
    first_wait: float = 2.0,
) -> dict[str, Any]:
    """Obtain an archive: from `manual_folder` if it lies there, else from its addresses.

    Bytes go to `<target>.part`, where the next call continues if this one is killed.

    Args:
        archive: what to obtain.
        target: the final path; appears complete and verified or not at all.
        manual_folder: a file `<manual_folder>/<archive.name>` is verified and linked to `target`
            instead of downloading.
        attempts: in a row that bring nothing new before an address is given up.
        silence: seconds with less than 1 kB/s after which a connection counts as broken.
        first_wait: seconds before the second attempt; doubled before each further one.

    Returns:
        name, address (None: placed by hand), bytes, sha256, and the published checksum.

    Raises:
        InputError: the archive needs registration and was not placed by hand; the file placed by
            hand is not the published one; or every address failed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    by_hand = manual_folder / archive.name
    if by_hand.exists():
        if problem := _problem(archive, by_hand):
            raise InputError(
                f"{by_hand} is not the published archive: {problem}. Replace it, or remove it to "
                "have the archive downloaded."
            )
        target.unlink(missing_ok=True)  # a link renamed over a link to the same file stays
        with atomic_path(target) as temporary:
            try:
                os.link(by_hand.resolve(), temporary)
            except OSError:  # another device, or a file system without links
                shutil.copyfile(by_hand, temporary)
        return _record(archive, None, target)
    if archive.how_to_obtain is not None:
        raise InputError(
            f"{archive.name} cannot be downloaded. {archive.how_to_obtain} "
            f"Place it at {by_hand} and run again."
        )
    if shutil.which("curl") is None:
        raise InputError(f"curl is not installed; install it, or place {archive.name} at {by_hand}")
    part = target.with_name(f"{target.name}.part")
    failures = []
    for url in archive.urls:
        # What another run or address has begun may not fit: then once more, from nothing.
        for _ in range(2):
            problem = _fetch(archive, url, part, attempts, silence, first_wait)
            if problem is None and (problem := _problem(archive, part)) is not None:
                part.unlink()
                continue
            break
        if problem is None:
            part.replace(target)
            return _record(archive, url, target)
        logging.warning("%s: %s", url, problem)
        failures.append(f"{url}: {problem}")
    raise InputError(
        f"{archive.name} could not be downloaded. {'; '.join(failures)}. Run again later, or "
        f"obtain the file in another way and place it at {by_hand}."
    )


def _fetch(
    archive: Archive, url: str, part: Path, attempts: int, silence: int, wait: float
) -> str | None:
    """Complete `part` from one address; what went wrong, None: nothing."""
    most = archive.bytes or int(2e9 * archive.approximate_gb)
    command = [
        *("curl", "--fail", "--location", "--silent", "--show-error", "--continue-at", "-"),
        *("--connect-timeout", str(silence), "--speed-limit", "1000", "--speed-time", str(silence)),
        *("--max-filesize", str(most), "--write-out", "%{http_code} %{content_type}"),
        *("--output", str(part), "--url", url),
    ]
    fruitless = 0
    # Not by curl's --retry, which cuts off what the attempt before has brought.
    while True:
        before = part.stat().st_size if part.exists() else 0
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace")
        status, _, kind = ran.stdout.partition(" ")
        if ran.returncode == 0 and not kind.startswith("text/html"):
            return None
        if ran.returncode == 0:
            part.unlink(missing_ok=True)
            return "answers with a web page instead of the file"
        reason = ran.stderr.strip() or f"curl ended with status {ran.returncode}"
        refused = ran.returncode == 22 and status[:1] != "5" and status not in _TEMPORARY_STATUS
        size = part.stat().st_size if part.exists() else 0
        fruitless = 0 if size > before else fruitless + 1
        hopeless = _HOPELESS if size else _HOPELESS | _UNREACHABLE
        if refused or ran.returncode in hopeless or fruitless >= attempts:
            return reason
        logging.info("%s: %s at byte %d; again in %.0f s", url, reason, size, wait)
        time.sleep(min(wait * 2**fruitless, 300))


def _problem(archive: Archive, path: Path) -> str | None:
    """What is wrong with a complete file; None: nothing."""
    size = path.stat().st_size
    if archive.bytes is not None and size != archive.bytes:
        return f"expected {archive.bytes} bytes, got {size}"
    if archive.checksum is None:
        return check_archive(path, archive.name)
    algorithm, _, expected = archive.checksum.partition(":")
    got = file_digest(path, algorithm)
    return None if got == expected else f"expected {algorithm} {expected}, got {got}"


def _record(archive: Archive, url: str | None, path: Path) -> dict[str, Any]:
    return {
        "name": archive.name,
        "url": url,
        "bytes": path.stat().st_size,
        "sha256": file_digest(path),
        "checksum": archive.checksum,
    }
