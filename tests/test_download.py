"""Downloads against a real server that misbehaves on purpose."""

import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scan_core.datasets.download.archives import (
    ARCHIVES,
    BACKBONE_ARCHIVES,
    FORMAT_ARCHIVES,
    Archive,
)
from scan_core.datasets.download.fetch import Retries, download
from scan_core.errors import InputError


def archive_of(seed: int, length: int) -> bytes:
    """A zip file of exactly so many bytes."""
    overhead = 0
    while True:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            noise = random.Random(seed).randbytes(length - overhead)
            archive.writestr(zipfile.ZipInfo("noise"), noise)
        if buffer.tell() == length:
            return buffer.getvalue()
        overhead += buffer.tell() - length


CONTENT = archive_of(0, 300_000)
FAST = Retries(attempts=3, first_delay=0.01, longest_delay=0.2, timeout=5)


@dataclass
class Behaviour:
    """What the server does; the lists are consumed one entry per request."""

    content: bytes = CONTENT
    etag: str | None = '"1"'
    ranges: bool = True
    obeys_if_range: bool = True
    length: bool = True
    chunk_pause: float = 0.0
    silence: list[float] = field(default_factory=list)
    content_type: str = "application/zip"
    headers: dict[str, str] = field(default_factory=dict)
    endless: bool = False
    goes_away: bool = False
    slow_headers: list[float] = field(default_factory=list)
    slowly: list[float] = field(default_factory=list)
    hang_ups: int = 0
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    break_after: list[int] = field(default_factory=list)
    requested: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        behaviour: Behaviour = self.server.behaviour  # type: ignore[attr-defined]
        wanted = self.headers["Range"]
        behaviour.requested.append(wanted)
        if behaviour.hang_ups:
            behaviour.hang_ups -= 1
            return None
        if behaviour.slow_headers:
            for letter in b"HTTP/1.0 200 OK\r\nX-Slow: " + b"x" * 100_000:
                self.wfile.write(bytes([letter]))
                time.sleep(behaviour.slow_headers[0])
        if self.path == "/moved":
            return self.answer(302, {"Location": "/file"})
        if self.path == "/gone":
            return self.answer(404, {})
        if behaviour.statuses:
            return self.answer(*behaviour.statuses.pop(0))
        start, content = 0, behaviour.content
        if wanted and behaviour.ranges and self.may_continue(behaviour):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self.answer(416, {"Content-Range": f"bytes */{len(content)}"})
        headers = {"Content-Type": behaviour.content_type, **behaviour.headers}
        if behaviour.etag:
            headers["ETag"] = behaviour.etag
        if behaviour.length:
            headers["Content-Length"] = str(len(content) - start)
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.answer(206 if start else 200, headers)
        time.sleep(behaviour.silence.pop(0) if behaviour.silence else 0)
        if behaviour.slowly:
            for position in range(start, len(content)):
                self.wfile.write(content[position : position + 1])
                time.sleep(behaviour.slowly[0])
        last = behaviour.break_after.pop(0) if behaviour.break_after else len(content)
        step = 10_000
        for position in range(start, last, step):
            self.wfile.write(content[position : min(position + step, last)])
            time.sleep(behaviour.chunk_pause)
        while behaviour.endless:
            self.wfile.write(b"x" * step)
        if behaviour.goes_away and last < len(content):
            self.server.server_close()  # from now on nobody listens
        return None

    def may_continue(self, behaviour: Behaviour) -> bool:
        return not behaviour.obeys_if_range or self.headers["If-Range"] in (None, behaviour.etag)

    def answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.behaviour = Behaviour()

    def handle_error(self, *_: object) -> None:
        """A client that was killed is part of the tests."""

    def url(self, path: str = "file") -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def archive(self, *paths: str, checked: bool = True, size: int | None = None) -> Archive:
        checksum = f"md5:{hashlib.md5(CONTENT).hexdigest()}" if checked else None
        urls = tuple(self.url(path) for path in paths or ("file",))
        return Archive("data.zip", urls, size, checksum, "none", ".", 0.0)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "archives/data.zip"


def assert_complete(target: Path, content: bytes = CONTENT) -> None:
    assert target.read_bytes() == content
    assert list(target.parent.iterdir()) == [target]


def test_record_says_what_came_from_where(server: Server, target: Path, tmp_path: Path) -> None:
    archive = server.archive("moved")
    record = download(archive, target, tmp_path, FAST)
    assert_complete(target)
    assert record.url == server.url("moved")
    assert record.bytes == len(CONTENT)
    assert record.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert record.checksum == archive.checksum


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("last", [0, 1, 65_536, 150_001, len(CONTENT) - 1])
def test_a_broken_connection_is_continued(
    server: Server, target: Path, tmp_path: Path, last: int, ranges: bool
) -> None:
    server.behaviour.break_after = [last]
    server.behaviour.ranges = ranges
    download(server.archive(checked=False), target, tmp_path, FAST)
    assert_complete(target)
    assert len(server.behaviour.requested) == 2


def test_silence_and_a_missing_answer_are_tried_again(
    server: Server, target: Path, tmp_path: Path
) -> None:
    server.behaviour.hang_ups = 1
    server.behaviour.silence = [1.0]
    download(server.archive(), target, tmp_path, replace(FAST, timeout=0.2))
    assert_complete(target)
    assert len(server.behaviour.requested) == 3


def test_patience_lasts_while_the_file_grows(server: Server, target: Path, tmp_path: Path) -> None:
    server.behaviour.break_after = [70_000, 140_000, 210_000, 280_000]
    download(server.archive(), target, tmp_path, replace(FAST, attempts=1))
    assert_complete(target)
    offsets = [int(text[6:-1]) for text in server.behaviour.requested if text]
    assert offsets == sorted(set(offsets))


def test_a_server_that_never_gets_further_is_given_up(
    server: Server, target: Path, tmp_path: Path
) -> None:
    server.behaviour.ranges = False
    server.behaviour.break_after = [100_000] * 99
    with pytest.raises(InputError, match=rf"data\.zip.*{server.url()}.*3 attempts in a row"):
        download(server.archive(), target, tmp_path, FAST)
    assert len(server.behaviour.requested) == 4
    assert not target.exists()


@pytest.mark.parametrize(
    ("etags", "obeys_if_range", "length"),
    [
        (('"1"', '"2"'), True, len(CONTENT)),
        (('"1"', '"2"'), False, len(CONTENT)),
        (('"1"', '"2"'), False, 100_000),
        ((None, None), False, 299_000),
        ((None, None), False, 100_000),
    ],
)
def test_a_file_that_changes_midway_is_not_spliced(
    server: Server,
    target: Path,
    tmp_path: Path,
    etags: tuple[str | None, str | None],
    obeys_if_range: bool,
    length: int,
) -> None:
    archive = server.archive(checked=False)
    server.behaviour.etag = etags[0]
    server.behaviour.break_after = [150_000] * 2
    with pytest.raises(InputError):
        download(archive, target, tmp_path, replace(FAST, attempts=1))
    changed = archive_of(1, length)
    server.behaviour = Behaviour(changed, etags[1], obeys_if_range=obeys_if_range)
    download(archive, target, tmp_path, FAST)
    assert_complete(target, changed)
    # A server that obeys answers the first request with the whole new file.
    assert len(server.behaviour.requested) == (1 if obeys_if_range else 2)


def test_a_file_of_unknown_length_and_version_is_not_continued(
    server: Server, target: Path, tmp_path: Path
) -> None:
    server.behaviour.etag, server.behaviour.length = None, False
    server.behaviour.break_after = [150_000]
    download(server.archive(checked=False, size=len(CONTENT)), target, tmp_path, FAST)
    assert_complete(target)
    assert server.behaviour.requested == [None, None]


def test_without_a_length_the_rest_is_still_asked_for(
    server: Server, target: Path, tmp_path: Path
) -> None:
    server.behaviour.length = False
    server.behaviour.break_after = [150_000]
    download(server.archive(size=len(CONTENT)), target, tmp_path, FAST)
    assert_complete(target)
    assert server.behaviour.requested == [None, "bytes=150000-"]


def test_a_complete_part_of_unknown_length_is_accepted(
    server: Server, target: Path, tmp_path: Path
) -> None:
    server.behaviour.length = False
    server.behaviour.break_after = [150_000] * 2
    with pytest.raises(InputError):
        download(server.archive(size=len(CONTENT)), target, tmp_path, replace(FAST, attempts=1))
    target.with_name("data.zip.part").write_bytes(CONTENT)
    download(server.archive(), target, tmp_path, FAST)
    assert_complete(target)
    assert server.behaviour.requested[-1] == f"bytes={len(CONTENT)}-"


def test_damage_is_repaired_by_one_clean_download(
    server: Server, target: Path, tmp_path: Path
) -> None:
    server.behaviour.break_after = [150_000] * 2
    with pytest.raises(InputError):
        download(server.archive(), target, tmp_path, replace(FAST, attempts=1))
    part = target.with_name("data.zip.part")
    part.write_bytes(b"?" + part.read_bytes()[1:])
    download(server.archive(), target, tmp_path, FAST)
    assert_complete(target)
    assert server.behaviour.requested[-1] is None


def test_wrong_content_is_refused_with_both_checksums(
    server: Server, target: Path, tmp_path: Path
) -> None:
    server.behaviour.content = b"something else"
    got = hashlib.md5(b"something else").hexdigest()
    expected = hashlib.md5(CONTENT).hexdigest()
    with pytest.raises(InputError, match=f"expected md5 {expected}, got {got}"):
        download(server.archive(), target, tmp_path, FAST)
    assert len(server.behaviour.requested) == 2
    assert not target.exists()
    assert not target.with_name("data.zip.part").exists()


def test_a_missing_file_sends_to_the_mirror_at_once(
    server: Server, target: Path, tmp_path: Path
) -> None:
    record = download(server.archive("gone", "file"), target, tmp_path, FAST)
    assert_complete(target)
    assert record.url == server.url("file")
    assert len(server.behaviour.requested) == 2


def test_the_last_failure_names_every_address_and_the_way_out(
    server: Server, target: Path, tmp_path: Path
) -> None:
    server.behaviour.content_type = "text/html; charset=utf-8"
    with pytest.raises(InputError) as failure:
        download(server.archive("gone", "file"), target, tmp_path / "manual", FAST)
    for words in (
        f"{server.url('gone')}: status 404",
        f"{server.url()}: answers with a web page",
        f"place it at {tmp_path / 'manual/data.zip'}",
    ):
        assert words in str(failure.value)


@pytest.mark.parametrize("asked", ["1", "Wed, 21 Oct 2099 07:28:00 GMT"])
def test_a_busy_server_is_given_the_time_it_asks_for_within_bounds(
    server: Server, target: Path, tmp_path: Path, asked: str
) -> None:
    server.behaviour.statuses = [(503, {"Retry-After": asked}), (429, {})]
    start = time.monotonic()
    download(server.archive(), target, tmp_path, FAST)
    assert FAST.longest_delay <= time.monotonic() - start < 2
    assert_complete(target)


def test_another_size_than_the_published_one_is_refused_before_the_download(
    server: Server, target: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="offers 300000 bytes; the archive has 5"):
        download(server.archive(size=5), target, tmp_path, FAST)
    assert not target.with_name("data.zip.part").exists()


def test_a_full_disk_is_named(server: Server, target: Path, tmp_path: Path) -> None:
    target.parent.mkdir()
    target.with_name("data.zip.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match="the disk is full"):
        download(server.archive(), target, tmp_path, FAST)


def refused(server: Server, target: Path, folder: Path, match: str, **archive: object) -> None:
    """The archive is refused, and nothing that could be taken for it is left."""
    with pytest.raises(InputError, match=match):
        download(server.archive(**archive), target, folder, FAST)
    assert not target.exists()


@pytest.mark.parametrize("size", [None, len(CONTENT)])
@pytest.mark.parametrize("checked", [True, False])
def test_no_more_is_stored_than_the_file_has(
    server: Server, target: Path, tmp_path: Path, checked: bool, size: int | None
) -> None:
    server.behaviour.break_after = [150_000] * 2
    with pytest.raises(InputError):
        download(server.archive(checked=checked), target, tmp_path, replace(FAST, attempts=1))
    part = target.with_name("data.zip.part")
    assert part.stat().st_size == 150_000
    server.behaviour.length = False  # the answer to a range, of which only the range is known
    server.behaviour.endless = True
    refused(
        server, target, tmp_path, "sends more than the 300000 bytes", checked=checked, size=size
    )
    assert part.stat().st_size == 150_000


def test_a_file_of_unknown_length_ends_at_twice_its_rough_size(
    server: Server, target: Path, tmp_path: Path
) -> None:
    server.behaviour.length = False
    server.behaviour.endless = True
    archive = replace(server.archive(checked=False), approximate_gb=0.001)
    with pytest.raises(InputError, match="sends more than the 2000000 bytes"):
        download(archive, target, tmp_path, FAST)
    assert target.with_name("data.zip.part").stat().st_size == 0


@pytest.mark.parametrize("where", ["body", "headers"])
def test_a_server_of_a_few_bytes_a_second_is_given_up(
    server: Server, target: Path, tmp_path: Path, where: str
) -> None:
    setattr(server.behaviour, "slowly" if where == "body" else "slow_headers", [0.05])
    start = time.monotonic()
    with pytest.raises(InputError, match=r"bytes a second|no answer within"):
        download(
            server.archive(), target, tmp_path,
            replace(FAST, attempts=2, timeout=0.3, least_speed=100),
        )  # fmt: skip
    assert time.monotonic() - start < 8


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:9/file", "nobody answers"),
        ("http://host.invalid/file", "no such host"),
        ("https://127.0.0.1:{port}/file", "no encrypted connection"),
        ("ftp://127.0.0.1/file", "InvalidSchema"),
        ("http://[::1/file", "Invalid"),
        ("http:///file", "Invalid"),
    ],
)
def test_what_does_not_change_is_not_tried_again(
    server: Server, target: Path, tmp_path: Path, address: str, reason: str
) -> None:
    archive = replace(server.archive(), urls=(address.format(port=server.server_port),))
    start = time.monotonic()
    with pytest.raises(InputError, match=reason):
        download(archive, target, tmp_path, replace(FAST, first_delay=5, longest_delay=5))
    assert time.monotonic() - start < 4


def test_a_server_that_goes_away_for_a_moment_is_waited_for(
    server: Server, target: Path, tmp_path: Path
) -> None:
    server.behaviour.break_after = [150_000]
    server.behaviour.goes_away = True
    again: list[Server] = []

    def return_() -> None:
        time.sleep(1)
        again.append(Server(server.server_port))
        again[0].serve_forever(0.01)

    threading.Thread(target=return_, daemon=True).start()
    download(server.archive(), target, tmp_path, replace(FAST, attempts=40))
    assert_complete(target)
    assert again[0].behaviour.requested == ["bytes=150000-"]
    again[0].shutdown()


@pytest.mark.parametrize(
    ("content", "length"),
    [
        (CONTENT[:-1], False),
        (CONTENT[:200_000], True),
        (b"", True),
        (b"<!DOCTYPE html><html>Not found</html>", True),
    ],
)
def test_without_a_checksum_only_a_whole_archive_is_accepted(
    server: Server, target: Path, tmp_path: Path, content: bytes, length: bool
) -> None:
    server.behaviour.content, server.behaviour.length = content, length
    refused(server, target, tmp_path, "truncated or corrupt", checked=False)
    assert not target.with_name("data.zip.part").exists()


def test_an_encoded_body_is_not_taken_for_the_file(
    server: Server, target: Path, tmp_path: Path
) -> None:
    server.behaviour.headers = {"Content-Encoding": "gzip"}
    refused(server, target, tmp_path, "sends the file encoded", checked=False)


@pytest.mark.parametrize("record", ["", "{", "[]", '{"url": 1}', "null"])
def test_a_damaged_record_of_a_part_begins_anew(
    server: Server, target: Path, tmp_path: Path, record: str
) -> None:
    target.parent.mkdir()
    target.with_name("data.zip.part").write_bytes(CONTENT[:1000])
    target.with_name("data.zip.part.json").write_text(record)
    download(server.archive(), target, tmp_path, FAST)
    assert_complete(target)
    assert server.behaviour.requested == [None]


def test_a_file_too_large_for_the_disk_is_not_begun(
    server: Server, target: Path, tmp_path: Path
) -> None:
    huge = {"Content-Length": str(10**18)}
    server.behaviour.statuses = [(200, huge)]
    with pytest.raises(InputError, match=r"1000000000\.00 GB of data\.zip are still"):
        download(server.archive(), target, tmp_path, FAST)


def test_a_killed_download_is_continued_by_the_next_process(
    server: Server, target: Path, tmp_path: Path
) -> None:
    server.behaviour.chunk_pause = 0.05
    script = (
        "from pathlib import Path; from scan_core.datasets.download.fetch import download;"
        "from scan_core.datasets.download.archives import Archive;"
        f"download({server.archive()!r}, Path({str(target)!r}), Path({str(tmp_path)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    part = target.with_name("data.zip.part")
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size > 60_000):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not target.exists()
    kept = part.stat().st_size
    assert kept < len(CONTENT)
    server.behaviour.chunk_pause = 0
    subprocess.run([sys.executable, "-c", script], check=True, stderr=subprocess.DEVNULL)
    assert server.behaviour.requested == [None, f"bytes={kept}-"]
    assert_complete(target)


def test_a_file_placed_by_hand_is_linked(server: Server, target: Path, tmp_path: Path) -> None:
    by_hand = tmp_path / "manual/data.zip"
    by_hand.parent.mkdir()
    by_hand.write_bytes(CONTENT)
    for _ in range(2):  # a second time over the first link
        record = download(server.archive(), target, by_hand.parent, FAST)
        assert_complete(target)
    assert target.samefile(by_hand)
    assert record.url is None
    assert not server.behaviour.requested


def test_a_wrong_file_placed_by_hand_is_named(server: Server, target: Path, tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"an earlier edition")
    with pytest.raises(InputError, match=rf"{tmp_path}/data\.zip is not the published archive"):
        download(server.archive(), target, tmp_path, FAST)
    assert not target.exists()


def test_an_archive_that_needs_registration_says_how(target: Path, tmp_path: Path) -> None:
    archive = ARCHIVES["ADE20K_2021_17_01.zip"]
    with pytest.raises(InputError, match=rf"request_data.*{tmp_path / archive.name}"):
        download(archive, target, tmp_path, FAST)


def test_the_registry_is_consistent() -> None:
    used = {name for names in FORMAT_ARCHIVES.values() for name in names}
    assert used | set(BACKBONE_ARCHIVES.values()) == set(ARCHIVES)
    for name, archive in ARCHIVES.items():
        assert name == archive.name
        assert bool(archive.urls) == (archive.how_to_obtain is None)
        assert archive.checksum or len(archive.urls) <= 1
        if archive.checksum:
            algorithm, _, digest = archive.checksum.partition(":")
            assert len(bytes.fromhex(digest)) == hashlib.new(algorithm).digest_size
