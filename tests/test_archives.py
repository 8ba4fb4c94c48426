"""Archives: fetched from a server that misbehaves, and unpacked completely or not at all."""

import gzip
import hashlib
import io
import stat
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from scan_core.datasets.archives import Archive, download
from scan_core.datasets.extraction import extract
from scan_core.errors import InputError

NOISE = np.random.default_rng(0).bytes(300_000)


def zipped(files, path=None, method=zipfile.ZIP_DEFLATED):
    path = path or io.BytesIO()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():  # always of the same date
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return path


CONTENT = zipped({"noise": NOISE}).getvalue()


class Server(ThreadingHTTPServer):
    """Answers to `/file`, with a fault for each of the first requests, and 404 to all else."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.faults, self.ranges = CONTENT, [], []

    def archive(self, *paths, **fields):
        urls = tuple(f"http://127.0.0.1:{self.server_port}/{path}" for path in paths or ("file",))
        checksum = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
        known = {"approximate_gb": 0.001, "urls": urls, "checksum": checksum}
        return Archive(**{"name": "data.zip", "licence": "none", **known, **fields})


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        wanted, content = self.headers["Range"], self.server.content
        self.server.ranges.append(wanted)
        fault = self.server.faults.pop(0) if self.server.faults else None
        start = int(wanted[6:-1]) if wanted else 0
        status = {"busy": 503, "gone": 404}.get(fault, 206 if start else 200)
        self.send_response(
            404 if self.path != "/file" else 416 if start >= len(content) else status
        )
        length = "9" * 5000 if fault == "length" else str(max(len(content) - start, 0))
        self.send_header("Content-Length", length)
        self.send_header("Content-Type", "text/html" if fault == "page" else "application/zip")
        self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if status < 300 and self.path == "/file":
            self.wfile.write(content[start : 150_000 if fault == "break" else None])


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def fetched(archive, folder):
    target = folder / "archives/data.zip"
    record = download(archive, target, folder / "manual", attempts=2, silence=2, first_wait=0.01)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]
    assert record["bytes"] == len(CONTENT)
    assert record["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    return record


@pytest.mark.parametrize("faults", [[], ["break"], ["busy"], ["busy", "break", "busy"]])
def test_a_download_goes_on_where_it_broke_off(server, tmp_path, faults):
    server.faults = list(faults)
    fetched(server.archive(bytes=len(CONTENT)), tmp_path)
    assert len(server.ranges) == len(faults) + 1
    if "break" in faults:
        assert server.ranges[-1] == "bytes=150000-"


@pytest.mark.parametrize("begun", [CONTENT[:1000], CONTENT, b"of another version"])
@pytest.mark.parametrize("checksum", [None, f"md5:{hashlib.md5(CONTENT).hexdigest()}"])
def test_what_an_earlier_run_has_begun_is_continued_or_begun_anew(
    server, tmp_path, begun, checksum
):
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives/data.zip.part").write_bytes(begun)
    fetched(server.archive(checksum=checksum), tmp_path)


def test_a_mirror_is_asked_and_all_failures_are_told(server, tmp_path):
    fetched(server.archive("gone", "file"), tmp_path)
    assert len(server.ranges) == 2
    for fault, words in {"page": "a web page", "length": "size exceeded", "gone": "404"}.items():
        server.faults = [fault] * 9
        with pytest.raises(InputError, match=rf"(?s)/gone: .*/file: .*{words}.*place it at"):
            fetched(server.archive("gone", "file"), tmp_path / fault)
    server.faults = []
    for field, value, words in (
        ("bytes", 5, "Maximum file size"),
        ("checksum", "md5:0", "expected md5"),
        ("approximate_gb", 1e-5, "Maximum file size"),
        ("how_to_obtain", "Ask.", "cannot be downloaded. Ask."),
    ):
        with pytest.raises(InputError, match=words):
            fetched(server.archive(**{field: value}), tmp_path / "other")


def test_without_a_checksum_only_a_whole_archive_is_taken(server, tmp_path):
    server.content = CONTENT[:-2000]
    with pytest.raises(InputError, match="truncated or corrupt"):
        fetched(server.archive(checksum=None), tmp_path)


def test_a_file_placed_by_hand_is_checked_and_taken(server, tmp_path):
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual/data.zip").write_bytes(CONTENT)
    assert fetched(server.archive("gone", how_to_obtain="Ask."), tmp_path)["url"] is None
    (tmp_path / "manual/data.zip").write_bytes(b"another")
    with pytest.raises(InputError, match="not the published archive"):
        fetched(server.archive(), tmp_path)


FILES = {f"images/{number:02}.jpg": bytes([number]) * 700 * (number + 1) for number in range(9)}


def packed(folder, suffix, files):
    path = folder / f"data{suffix}"
    if suffix == ".zip":
        return zipped(files, path)
    with tarfile.open(path, "w:gz" if suffix == ".tar.gz" else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


every_kind = pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@every_kind
def test_every_file_is_that_of_the_archive_whatever_lay_there(tmp_path, suffix):
    raw = tmp_path / "raw"
    assert extract(packed(tmp_path, suffix, FILES), raw) == len(FILES)
    assert contents(raw) == FILES
    (raw / "images/03.jpg").write_bytes(bytes(len(FILES["images/03.jpg"])))  # of the right size
    (raw / "other").mkdir()
    (raw / "other/kept").touch()
    fewer = {name: content[::-1] for name, content in list(FILES.items())[:5]}
    extract(packed(tmp_path, suffix, fewer), raw)
    assert contents(raw) == {**fewer, "other/kept": b""}


@every_kind
@pytest.mark.parametrize("name", ["../x", "a/../../x", "/tmp/x", "C:/x", "..\\x", "\\\\h\\s\\x"])
def test_a_path_that_leaves_the_folder_stops_everything(tmp_path, suffix, name):
    archive = packed(tmp_path, suffix, {**FILES, name: b"evil"})
    with pytest.raises(InputError, match="not safe to extract"):
        extract(archive, tmp_path / "deep/raw")
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize(
    ("kind", "leads_to"),
    [(None, "/etc"), (tarfile.SYMTYPE, "/etc"), (tarfile.SYMTYPE, "../.."),
     (tarfile.LNKTYPE, "../x"), (tarfile.CHRTYPE, ""), (tarfile.FIFOTYPE, "")],
)  # fmt: skip
def test_a_link_that_leaves_the_folder_or_a_device_stops_everything(tmp_path, kind, leads_to):
    archive = packed(tmp_path, ".tar" if kind else ".zip", FILES)
    if kind is None:
        with zipfile.ZipFile(archive, "a") as opened:
            info = zipfile.ZipInfo("link")
            info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            opened.writestr(info, leads_to)
    else:
        with tarfile.open(archive, "a") as opened:
            info = tarfile.TarInfo("special")
            info.type, info.linkname = kind, leads_to
            opened.addfile(info)
    with pytest.raises(InputError, match="not safe to extract"):
        extract(archive, tmp_path / "raw")
    assert list(tmp_path.iterdir()) == [archive]


@every_kind
def test_damage_is_one_message(tmp_path, suffix):
    archive = packed(tmp_path, suffix, {**FILES, "noise": NOISE})
    whole = archive.read_bytes()
    cut = [whole[: len(whole.rstrip(b"\0")) * part // 100] for part in (0, 1, 50, 99)]
    flipped = [whole[:150_000] + bytes([whole[150_000] ^ 255]) + whole[150_001:]]
    for damaged in cut + (flipped if suffix != ".tar" else []) + [b"<html>"]:
        archive.write_bytes(damaged)
        with pytest.raises(InputError, match=rf"{archive.name} is truncated or corrupt .* delete"):
            extract(archive, tmp_path / "raw")


@pytest.mark.parametrize("kind", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_of_any_kind_is_one_message(tmp_path, kind):
    archive = zipped({"noise": NOISE}, tmp_path / "data.zip", kind)
    damaged = bytearray(archive.read_bytes())
    damaged[100:200] = bytes(100)
    archive.write_bytes(damaged)
    with pytest.raises(InputError, match=r"data\.zip is truncated or corrupt"):
        extract(archive, tmp_path / "raw")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_tar_with_a_name_of_gigabytes_is_not_read_into_memory(tmp_path, kind):
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 2**31
    archive = tmp_path / "data.tar.gz"
    with gzip.open(archive, "wb", compresslevel=1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(2**20))
    with pytest.raises(InputError, match="a header announces 2147483648 bytes"):
        extract(archive, tmp_path / "raw")
