"""Archives unpack completely or with a clear message, and never outside their folder."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scan_core.datasets.download.extraction import extract
from scan_core.errors import InputError

FILES = {f"images/{number:02}.jpg": bytes([number]) * 700 * number for number in range(12)}
SUFFIXES = (".zip", ".tar", ".tar.gz")


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    write_members(path, list(files.items()))


def write_members(path: Path, files: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    (write_zip if path.suffix == ".zip" else write_tar)(path, files)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_all_files_arrive_without_the_metadata_of_macos(tmp_path: Path, suffix: str) -> None:
    extra = {"__MACOSX/images/._00.jpg": b"x", "images/.DS_Store": b"x"}
    archive = write_archive(tmp_path / f"data{suffix}", {**FILES, **extra})
    assert extract(archive, tmp_path / "raw") == len(FILES)
    assert contents(tmp_path / "raw") == FILES


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_rerun_completes_what_is_missing_and_keeps_the_rest(tmp_path: Path, suffix: str) -> None:
    archive = write_archive(tmp_path / f"data{suffix}", FILES)
    raw = tmp_path / "raw"
    extract(archive, raw)
    (raw / "images/03.jpg").unlink()
    (raw / "images/05.jpg").write_bytes(b"short")
    (raw / "images/06.jpg.part").write_bytes(b"left by a killed process")
    (raw / "images/06.jpg").unlink()
    kept = (raw / "images/07.jpg").stat().st_ino
    assert extract(archive, raw) == len(FILES)
    assert contents(raw) == FILES
    assert (raw / "images/07.jpg").stat().st_ino == kept


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/tmp/x", "C:/x", "C:x", "..\\x", "\\\\h\\s\\x"]
)
def test_a_path_that_leaves_the_folder_stops_everything(
    tmp_path: Path, suffix: str, name: str
) -> None:
    archive = write_archive(tmp_path / f"data{suffix}", {**FILES, name: b"evil"})
    with pytest.raises(InputError, match="not safe to extract"):
        extract(archive, tmp_path / "deep/raw")
    assert list(tmp_path.iterdir()) == [archive]


def add_zip_symlink(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("link")
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc")


def adds_to_tar(kind: bytes, target: str) -> Callable[[Path], None]:
    def add(path: Path) -> None:
        with tarfile.open(path, "a") as archive:
            info = tarfile.TarInfo("special")
            info.type, info.linkname = kind, target
            archive.addfile(info)

    return add


@pytest.mark.parametrize(
    ("suffix", "add"),
    [
        pytest.param(".zip", add_zip_symlink, id="zip-symlink"),
        pytest.param(".tar", adds_to_tar(tarfile.SYMTYPE, "/etc"), id="tar-symlink"),
        pytest.param(".tar", adds_to_tar(tarfile.SYMTYPE, "images"), id="tar-symlink-inside"),
        pytest.param(".tar", adds_to_tar(tarfile.LNKTYPE, "images/01.jpg"), id="tar-hardlink"),
        pytest.param(".tar", adds_to_tar(tarfile.CHRTYPE, ""), id="tar-device"),
        pytest.param(".tar", adds_to_tar(tarfile.FIFOTYPE, ""), id="tar-fifo"),
    ],
)
def test_a_link_or_device_stops_everything(
    tmp_path: Path, suffix: str, add: Callable[[Path], None]
) -> None:
    archive = write_archive(tmp_path / f"data{suffix}", FILES)
    add(archive)
    with pytest.raises(InputError, match="is a link or a device"):
        extract(archive, tmp_path / "raw")
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.3, 0.5, 0.8, 0.99])
def test_a_truncated_archive_is_named(tmp_path: Path, suffix: str, kept: float) -> None:
    archive = write_archive(tmp_path / f"data{suffix}", FILES)
    # A tar file is padded to 10 kB: what counts is where its members end.
    whole = archive.read_bytes()
    length = len(whole.rstrip(b"\0")) if suffix == ".tar" else len(whole)
    archive.write_bytes(whole[: int(length * kept)])
    with pytest.raises(InputError, match=rf"{archive.name} is truncated or corrupt .* delete"):
        extract(archive, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_a_tar_that_ends_between_two_members_is_truncated(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "data.tar", {"a": b"1" * 512, "b": b"2" * 512})
    archive.write_bytes(archive.read_bytes()[:1024])
    with pytest.raises(InputError, match="the end is missing"):
        extract(archive, tmp_path / "raw")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_a_changed_byte_is_found(tmp_path: Path, suffix: str) -> None:
    noise = bytes((i * i * 31 + i // 7) % 256 for i in range(50_000))
    archive = write_archive(tmp_path / f"data{suffix}", {"noise.bin": noise})
    damaged = bytearray(archive.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    archive.write_bytes(damaged)
    with pytest.raises(InputError, match="truncated or corrupt"):
        extract(archive, tmp_path / "raw")
    assert contents(tmp_path / "raw") == {}


def test_a_web_page_in_place_of_an_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_text("<html>sign in</html>")
    with pytest.raises(InputError, match=r"data\.zip is truncated or corrupt"):
        extract(tmp_path / "data.zip", tmp_path / "raw")


def sparse_tar(path: Path, form: int) -> Path:
    """A tar of a few kB whose member says to be 60 GB long."""
    with tarfile.open(path, "w", format=form) as archive:
        info = tarfile.TarInfo("labels.bin")
        if form == tarfile.PAX_FORMAT:
            info.pax_headers = {
                "GNU.sparse.major": "1", "GNU.sparse.minor": "0",
                "GNU.sparse.name": "labels.bin", "GNU.sparse.realsize": str(60 * 10**9),
            }  # fmt: skip
            content = b"1\n0\n512\n".ljust(512, b"\0") + bytes(512)
        else:
            info.type = tarfile.GNUTYPE_SPARSE
            content = bytes(512)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    if form == tarfile.GNU_FORMAT:  # what tarfile itself does not write: the map, the real size
        whole = bytearray(path.read_bytes())
        whole[386:410] = b"%011o\0%011o\0" % (0, 512)
        whole[483:495] = b"%011o\0" % (60 * 10**9 // 8)
        whole[148:156] = b" " * 8
        whole[148:156] = b"%06o\0 " % sum(whole[:512])
        path.write_bytes(whole)
    return path


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_sparse_file_is_refused(tmp_path: Path, form: int) -> None:
    archive = sparse_tar(tmp_path / "data.tar", form)
    with pytest.raises(InputError, match=r"labels\.bin' is sparse"):
        extract(archive, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_an_archive_that_grows_without_measure_is_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "data.zip", {"zeros": b""})
    whole = archive.read_bytes()  # the directory may claim any length
    at = whole.rindex(b"PK\x01\x02") + 24
    size = (1 << 30) + 1
    archive.write_bytes(whole[:at] + size.to_bytes(4, "little") + whole[at + 4 :])
    with pytest.raises(InputError, match=r"would become 1\.1 GB"):
        extract(archive, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_of_two_members_of_one_name_the_last_counts_however_often(
    tmp_path: Path, suffix: str
) -> None:
    archive = write_archive(
        tmp_path / f"data{suffix}", {"a": b"first", "./b": b"x", "b": b"longer"}
    )
    duplicate = {"a": b"the second"}
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a", duplicate["a"])
    else:
        write_members(
            archive, [("a", b"first"), ("./b", b"x"), ("b", b"longer"), ("a", b"the second")]
        )
    for _ in range(3):
        assert extract(archive, tmp_path / "raw") == 2
        assert contents(tmp_path / "raw") == {"a": b"the second", "b": b"longer"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_a_folder_too_is_refused(tmp_path: Path, suffix: str) -> None:
    archive = write_archive(tmp_path / f"data{suffix}", {"images": b"1", "images/1.jpg": b"2"})
    with pytest.raises(InputError, match="is a file and a folder"):
        extract(archive, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()
