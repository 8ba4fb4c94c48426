"""Extraction of archives: each file anew, and nothing outside the folder to extract into."""

import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any

from tqdm import tqdm

from scan_core.errors import InputError

_MOST_READ = 1 << 24  # bytes that a tar may ask for at once; a header may announce gigabytes
# What zipfile, tarfile and their decoders raise for files that are not what they read.
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, OSError),
    *(EOFError, ValueError, OverflowError, RuntimeError),  # the last for an encrypted one
)


def extract(archive: Path, target: Path) -> int:
    """Extract a `.zip`, `.tar` or `.tar.gz` archive.

    All members are checked before the first is written. Files that exist are written anew, and
    what else lies in a folder of the archive's files is removed: it belongs to an earlier version.

    Args:
        archive: its suffix says of which kind it is.
        target: folder to extract into; made if missing.

    Returns:
        the number of files.

    Raises:
        InputError: the archive is damaged or of another kind, or a member is a device or leads out
            of `target`.
        OSError: such as for a full disk.
    """
    with _advice(archive), _opened(archive, archive.name) as opened:
        files = _files(opened, target)
        target.mkdir(parents=True, exist_ok=True)
        opened.extractall(target, tqdm(_members(opened), archive.name, mininterval=5))
    own = {target / name for name in files}
    for folder in {path.parent for path in own}:
        for path in folder.iterdir():
            if path not in own and not path.is_dir():
                path.unlink()
    return len(files)


def check_archive(path: Path, name: str) -> str | None:
    """Why a file cannot be the archive of this name; None: nothing is seen.

    Of archives without a published checksum, nothing else tells a whole one from a cut one, or
    from a page that says "not found".
    """
    try:
        if name.endswith(".pth") and path.open("rb").read(1) == b"\x80":
            return None  # a pickle of older versions of PyTorch
        with _advice(path), _opened(path, name) as opened:
            _files(opened, path.parent)
            if isinstance(opened, zipfile.ZipFile) and (damaged := opened.testzip()):
                return f"its member {damaged} is damaged"
        return None
    except InputError as error:
        return str(error)


@contextmanager
def _advice(archive: Path) -> Iterator[None]:
    try:
        yield
    except tarfile.FilterError as error:
        raise _unsafe(str(error)) from None
    except InputError as error:
        raise InputError(f"{archive}: {error}") from None
    except _DAMAGE as error:
        if getattr(error, "errno", None):  # of the system, such as a full disk
            raise
        raise InputError(
            f"{archive} is truncated or corrupt ({error}); delete {archive.name} (and, if it was "
            "placed by hand, the file placed there) and run again."
        ) from None


@contextmanager
def _opened(path: Path, name: str) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    if name.endswith((".zip", ".pth")):  # PyTorch's weights are a zip file
        with zipfile.ZipFile(path) as archive:
            yield archive
    elif name.endswith((".tar", ".tar.gz")):
        with (
            gzip.GzipFile(path) if name.endswith(".gz") else io.FileIO(path) as raw,
            _Bounded(raw) as stream,
            tarfile.open(fileobj=stream, mode="r:") as archive,
        ):
            archive.extraction_filter = tarfile.data_filter
            archive.getmembers()
            # tarfile takes a file that ends between two members for complete; it ends in zeros.
            stream.seek(archive.offset)
            if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise tarfile.ReadError("the end is missing")
            while stream.read(1 << 20):  # to the end of the file, where gzip keeps its checksum
                pass
            yield archive
    else:
        raise InputError("this is no .zip, .tar or .tar.gz archive")


class _Bounded(io.BufferedReader):
    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _MOST_READ:
            raise tarfile.ReadError(f"a header announces {size} bytes")
        return super().read(size)


def _members(archive: zipfile.ZipFile | tarfile.TarFile) -> list[Any]:
    return archive.infolist() if isinstance(archive, zipfile.ZipFile) else archive.getmembers()


def _files(archive: zipfile.ZipFile | tarfile.TarFile, target: Path) -> list[str]:
    """Paths below the target of the archive's files, all of whose members are safe."""
    found = []
    for member in _members(archive):
        zipped = isinstance(member, zipfile.ZipInfo)
        name = member.filename if zipped else member.name
        path = PureWindowsPath(name)  # its rules are stricter than those of POSIX
        if path.anchor or ".." in path.parts:
            raise _unsafe(f"its member {name!r} lies outside the folder to extract into")
        if not zipped:
            tarfile.data_filter(member, str(target))
        elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _unsafe(f"its member {name!r} is a link or a device")
        if not (member.is_dir() if zipped else member.isdir()):
            found.append(name)
    if not found:
        raise InputError("the archive holds no files")
    return found


def _unsafe(why: str) -> InputError:
    return InputError(
        f"not safe to extract: {why}. Nothing was extracted. Obtain the archive from its publisher."
    )
