"""Extraction of downloaded archives: nothing leaves the target folder, and a rerun continues."""

import gzip
import logging
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from tqdm import tqdm

from scan_core.errors import DiskFullError, InputError
from scan_core.storage.full_disk import room_for

_SUFFIXES = (".zip", ".tar", ".tar.gz")
_BLOCK = 1 << 20
_PROGRESS_SECONDS = 5.0  # standard error is usually a log file
# Archives of pictures grow by a few times, of label maps by tens. More than this is an attack.
_MOST_GROWTH = 250
_HARMLESS = 1 << 30
# What zipfile, tarfile and gzip raise for files that are not, or no longer, what they read.
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    UnicodeDecodeError,
)


@dataclass(frozen=True)
class _Member:
    """A regular file of an archive: path below the target, size in bytes, and how to read it."""

    path: PurePosixPath
    size: int
    open: Callable[[], IO[bytes]]


def extract(archive_path: Path, target: Path) -> int:
    """Extract a `.zip`, `.tar` or `.tar.gz` archive.

    All members are checked before the first is written. Files that already exist with the right
    size are kept, and each new one appears complete or not at all, so that an extraction that
    was stopped continues when it is run again. Metadata of macOS is left out.

    Args:
        archive_path: the archive; its suffix says of which kind.
        target: folder to extract into; made if missing.

    Returns:
        the number of the archive's files now below `target`.

    Raises:
        InputError: the archive is damaged or of another kind; a member is a link or a device or
            lies outside `target`; or it grows as no archive of data does.
        DiskFullError: the disk is full, or too full for what is to be extracted.
    """
    try:
        with _members(archive_path) as members:
            _check_members(archive_path, members)
            target.mkdir(parents=True, exist_ok=True)
            missing = [member for member in members if not _is_there(member, target)]
            _check_space(archive_path, target, sum(member.size for member in missing))
            logging.info("%s: %d files, %d to extract", archive_path, len(members), len(missing))
            for member in tqdm(missing, archive_path.name, mininterval=_PROGRESS_SECONDS):
                _write(member, target / member.path)
            return len(members)
    except _DAMAGE as error:
        raise InputError(
            f"{archive_path} is truncated or corrupt ({error}); {_advice(archive_path)}"
        ) from error


def what_is_wrong(name: str, path: Path) -> str | None:
    """Why a file cannot be the archive that it is called; None: nothing is seen.

    Of archives without a published checksum, nothing else tells a whole one from a cut one, or
    from a page that says "not found".

    Args:
        name: of the archive; its suffix says of which kind it is.
        path: the file, under whatever name.
    """
    try:
        if name.endswith(_SUFFIXES):
            with _members(path, name) as members:
                _check_members(path, members)
            return None
        with path.open("rb") as file:
            first = file.read(4)
        if first.startswith(b"PK") and not zipfile.is_zipfile(path):
            return "the end is missing"
        known = first.startswith((b"PK", b"\x80"))
        return None if known else f"it begins with {first!r}, as no file of this kind does"
    except (*_DAMAGE, InputError) as error:
        return f"it is truncated or corrupt ({error})"


def _advice(archive_path: Path) -> str:
    return (
        f"delete {archive_path.name} (and, if it was placed by hand, the file placed there) and "
        "run again."
    )


@contextmanager
def _members(archive_path: Path, name: str | None = None) -> Iterator[list[_Member]]:
    """Yield the checked members of an archive, in its order; they can be read until the end.

    Of several members of one name the last counts, as for every other program.
    """
    name = name or archive_path.name
    if name.endswith(".zip"):
        with zipfile.ZipFile(archive_path) as archive:
            yield list({m.path: m for m in _zip_members(archive_path, archive)}.values())
    elif name.endswith(_SUFFIXES):
        compressed = name.endswith(".gz")
        with (
            gzip.open(archive_path) if compressed else archive_path.open("rb") as stream,
            tarfile.open(fileobj=stream, mode="r:") as archive,
        ):
            found = _tar_members(archive_path, archive, stream)
            yield list({m.path: m for m in found}.values())
    else:
        raise InputError(f"{archive_path} is not a .zip, .tar or .tar.gz archive.")


def _zip_members(archive_path: Path, archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        path = _safe_path(archive_path, info.filename, info.is_dir())
        kind = stat.S_IFMT(info.external_attr >> 16)  # zero unless made under Unix
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _unsafe(archive_path, info.filename, "is a link or a device")
        if info.flag_bits & 1:
            raise InputError(f"{archive_path} is encrypted; {_advice(archive_path)}")
        if not info.is_dir() and not _is_metadata(path):
            yield _Member(path, info.file_size, partial(archive.open, info))


def _tar_members(
    archive_path: Path, archive: tarfile.TarFile, stream: IO[bytes] | gzip.GzipFile
) -> Iterator[_Member]:
    for info in archive.getmembers():
        path = _safe_path(archive_path, info.name, info.isdir())
        if not info.isreg() and not info.isdir():
            raise _unsafe(archive_path, info.name, "is a link or a device")
        if info.issparse():
            raise _unsafe(archive_path, info.name, "is sparse: it says to be longer than it is")
        if info.isreg() and not _is_metadata(path):
            yield _Member(path, info.size, partial(_open_tar_member, archive, info))
    # tarfile takes a file that ends between two members for complete; the format ends in zeros.
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("the end is missing")
    while stream.read(_BLOCK):  # to the end of the file, where gzip keeps its checksum
        pass


def _check_members(archive_path: Path, members: list[_Member]) -> None:
    if not members:
        raise InputError(f"{archive_path} holds no files; {_advice(archive_path)}")
    files = {member.path for member in members}
    for member in members:
        if folder := next((parent for parent in member.path.parents if parent in files), None):
            raise _unsafe(archive_path, str(folder), "is a file and a folder")
    total = sum(member.size for member in members)
    if total > _HARMLESS and total > _MOST_GROWTH * archive_path.stat().st_size:
        raise InputError(
            f"{archive_path} is not safe to extract: {archive_path.stat().st_size} bytes would "
            f"become {total / 1e9:.1f} GB. Nothing was extracted. Obtain the archive from its "
            "publisher."
        )


def _open_tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    if file is None:
        raise tarfile.ReadError(f"{info.name} is not a file")
    return file


def _safe_path(archive_path: Path, name: str, is_folder: bool) -> PurePosixPath:
    """The member's path, if it stays below the target under POSIX and Windows rules."""
    path, windows = PurePosixPath(name), PureWindowsPath(name)
    outside = path.is_absolute() or windows.anchor or ".." in windows.parts
    if outside or "\0" in name or not (is_folder or path.parts):
        raise _unsafe(archive_path, name, "lies outside the folder to extract into")
    return path


def _unsafe(archive_path: Path, name: str, why: str) -> InputError:
    return InputError(
        f"{archive_path} is not safe to extract: its member {name!r} {why}. Nothing was "
        "extracted. Obtain the archive from its publisher."
    )


def _is_metadata(path: PurePosixPath) -> bool:
    return "__MACOSX" in path.parts or path.name == ".DS_Store"


def _is_there(member: _Member, target: Path) -> bool:
    path = target / member.path
    return path.is_file() and path.stat().st_size == member.size


def _check_space(archive_path: Path, target: Path, needed: int) -> None:
    free = shutil.disk_usage(target).free
    if needed > free:
        raise DiskFullError(
            f"{target} has {free / 1e9:.2f} GB free, but {archive_path.name} needs "
            f"{needed / 1e9:.2f} GB more. Free some space and run again."
        )


def _write(member: _Member, path: Path) -> None:
    # Not a random temporary name: what a killed process leaves is overwritten by the next one,
    # and never looks like an image.
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            room_for(path, member.size, kept="what has been extracted"),
            member.open() as source,
            part.open("wb") as destination,
        ):
            shutil.copyfileobj(source, destination, _BLOCK)
        if part.stat().st_size != member.size:
            raise EOFError(f"{member.path} is shorter than announced")
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
