"""What the page lets in: one's own uploads, of bounded size, and nothing else of the machine."""

import os
import socket
import threading
import time

import numpy as np
import pytest
import requests
from page_server import running_page
from PIL import Image
from small_models import picture_of

pytestmark = pytest.mark.slow

FILE = {"_type": "gradio.FileData"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_page(tmp_path_factory.mktemp("page")) as running:
        yield running
        assert running.process.poll() is None, running.log.read_text()
        assert not running.errors_of_ours()


@pytest.fixture(scope="module")
def visitor(server):
    return server.visitor()


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(picture_of(60, 80)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def shown(message):
    """The overlay's address, or the words of the error."""
    if message["success"]:
        return message["output"]["data"][1]["path"]
    assert message["output"]["error"], "an error without words"
    return message["output"]["error"]


def test_ones_own_upload_is_segmented(server, visitor, photo):
    overlay = shown(visitor.ask({"path": visitor.upload(photo), "meta": FILE}))
    picture = visitor.session.get(f"{server.address}/gradio_api/file={overlay}", timeout=60)
    assert picture.headers["content-type"] == "image/png"


def test_an_example_is_segmented(visitor):
    config = visitor.session.get(f"{visitor.address}/config", timeout=60).json()
    (dataset,) = (c for c in config["components"] if c["type"] == "dataset")
    example = dataset["props"]["samples"][0][0]
    assert shown(visitor.ask({"path": example["path"], "meta": FILE})).endswith(".png")


def test_no_file_of_the_machine_is_read(server, visitor, photo, tmp_path):
    own = visitor.upload(photo)
    other = server.visitor().upload(photo.rename(tmp_path / "private.png"))
    folder = own.rpartition("/")[0]
    os.mkfifo(tmp_path / "pipe.png")
    private = tmp_path / "private.png"
    Image.fromarray(picture_of(70, 70, 5)).save(private)
    names = [
        str(private), str(tmp_path / "missing.png"), str(tmp_path / "pipe.png"), "/dev/zero",
        f"{folder}/../../../../../../../..{private}", f"file://{private}", str(tmp_path),
        "http://127.0.0.1:1/x.png", f"{server.address}/gradio_api/file={own}", "", "\0", other,
    ]  # fmt: skip
    files = [{"path": name, "meta": FILE} for name in names]
    files += [{"path": name} for name in names]
    files.append({"path": None, "url": f"file://{private}", "meta": FILE})
    answers = {shown(visitor.ask(file)) for file in files}
    assert len(answers) == 1, "nothing tells a file that is there from one that is not"
    assert "choose an image first" in answers.pop()
    for text in ({"path": str(private), "meta": FILE}, [str(private)], None):
        assert "type the class names" in shown(visitor.ask({"path": own}, names=text))
    assert shown(visitor.ask({"path": own, "meta": FILE})).endswith(".png")


@pytest.mark.parametrize(
    "kind",
    [
        *(lambda file: [file], lambda file: [file["path"]], lambda file: file["path"]),
        *(lambda file: 5, lambda file: [[file]], lambda file: True),
    ],
)
def test_what_is_no_image_object_gets_the_words_of_a_request_without_one(visitor, photo, kind):
    file = {"path": visitor.upload(photo), "meta": FILE}
    assert "choose an image first" in shown(visitor.ask(kind(file)))


def test_a_request_of_other_values_is_refused(visitor, photo):
    file = {"path": visitor.upload(photo), "meta": FILE}
    for data in ([], [file], [file] * 20, {"0": file}, None, "x"):
        answer = visitor.join(data)
        assert answer.status_code == 400
        assert "the page's functions" in answer.json()["detail"]
    body = {"data": [], "fn_index": 999, "session_hash": visitor.hash}
    assert visitor.post("/gradio_api/queue/join", json=body).status_code == 400


def test_nobody_reads_what_another_visitor_has_uploaded(server, visitor, tmp_path):
    Image.fromarray(picture_of(50, 50, 9)).save(tmp_path / "mine.png")
    theirs = server.visitor().upload(tmp_path / "mine.png")
    assert "choose an image first" in shown(visitor.ask({"path": theirs, "meta": FILE}))
    assert visitor.session.get(f"{server.address}/gradio_api/file={theirs}").status_code == 404
    mine = visitor.upload(tmp_path / "mine.png")
    assert mine == theirs, "of one content"
    assert shown(visitor.ask({"path": mine, "meta": FILE})).endswith(".png")


@pytest.mark.parametrize(
    ("method", "where"),
    [
        ("GET", "/gradio_api/file=/etc/passwd"),
        ("GET", "/gradio_api/file=http://127.0.0.1:1/x"),
        ("GET", "/gradio_api/proxy=http://127.0.0.1:1/x"),
        ("GET", "/gradio_api/file/etc/passwd"),
        ("GET", "/gradio_api/stream/a/b/c/playlist.m3u8"),
        ("GET", "/custom_component/a/b/c/d"),
        ("GET", "/monitoring"),
        ("POST", "/gradio_api/run/segment"),
        ("POST", "/gradio_api/api/segment"),
        ("POST", "/gradio_api/call/segment"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/vibe-edit"),
        ("PUT", "/"),
    ],
)
def test_the_server_has_no_other_addresses(server, method, where):
    answer = requests.request(method, server.address + where, json={"data": []}, timeout=60)
    assert answer.status_code in (404, 405)
    assert "root:" not in answer.text


def test_nothing_goes_round_the_queue(visitor, photo):
    body = {"data": [{"path": visitor.upload(photo)}, None, "sea", "", 0.5, 0.9, 0]}
    body |= {"fn_index": visitor.functions["segment"], "session_hash": visitor.hash}
    assert visitor.post("/gradio_api/run/predict", json=body).status_code == 404


def test_images_that_take_much_memory_are_refused_with_words(server, visitor, photo, tmp_path):
    shown(visitor.ask({"path": visitor.upload(photo)}))
    before = server.memory()
    Image.new("1", (13_000, 13_000)).save(tmp_path / "wide.png")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    for name in ("wide.png", "bomb.png"):
        words = shown(visitor.ask({"path": visitor.upload(tmp_path / name)}))
        assert f"{name} has" in words
        assert "million" in words
        assert str(server.log.parent) not in words
    photo.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert "is no image" in shown(visitor.ask({"path": visitor.upload(photo)}))
    assert server.memory() - before < 300, "MiB"


def test_uploads_and_requests_have_a_size(visitor, tmp_path):
    (tmp_path / "large.png").write_bytes(bytes(41_000_000))
    with pytest.raises(requests.HTTPError, match="413"):
        visitor.upload(tmp_path / "large.png")
    assert visitor.join([None, None, "a" * 300_000, "", 0.5, 0.9, 0]).status_code == 413


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"names": ",".join(f"thing {n}" for n in range(3000))}, "more than 10,000 letters"),
        ({"names": ",".join(f"t{n}" for n in range(400))}, "400 names: the page takes at most 300"),
        ({"background": ",".join(f"t{n}" for n in range(400))}, "402 names"),
        ({"names": "@/etc/passwd"}, "type the class names"),
        ({"names": 7}, "type the class names"),
        ({"names": "<img src=x onerror=alert(1)>,<img src=x onerror=alert(1)>"}, "&lt;img"),
        ({"numbers": (7, 0.9, 0)}, "expected a number from 0 to 1"),
        ({"numbers": (0.5, "x", 0)}, "expected a number from 0 to 1"),
        ({"numbers": (0.5, 0.9, None)}, "expected a number from 0 to 1"),
    ],
)
def test_words_and_settings_are_bounded(visitor, photo, options, says):
    start = time.monotonic()
    words = shown(visitor.ask({"path": visitor.upload(photo)}, **options))
    assert says in words
    assert "<img" not in words
    assert time.monotonic() - start < 20


def test_names_are_text_in_the_table(visitor, photo):
    names = "<script>alert(1)</script>, sea"
    message = visitor.ask({"path": visitor.upload(photo)}, names=names)
    table = message["output"]["data"][2]
    assert "&lt;script&gt;" in table
    assert "<script" not in table


def test_many_at_once_are_told_to_come_again_and_all_others_are_answered(server, photo):
    visitors = [server.visitor() for _ in range(4)]
    answers = []

    def press_often(visitor):
        image = {"path": visitor.upload(photo), "meta": FILE}
        last = None
        for number in range(12):
            joined = visitor.join([image, None, f"sea, sand {number}", "", 0.5, 0.9, 0])
            answers.append(joined.status_code)
            last = joined.json()["event_id"] if joined.status_code == 200 else last
        if last:
            visitor.result(last)

    threads = [threading.Thread(target=press_often, args=(one,)) for one in visitors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) == {200, 503}, "the queue is bounded"
    end = time.monotonic() + 120
    while time.monotonic() < end:  # until those have been answered
        late = server.visitor()
        joined = late.join([{"path": late.upload(photo)}, None, "sea", "", 0.5, 0.9, 0])
        if joined.status_code == 200:
            assert late.result(joined.json()["event_id"])["success"]
            return
        time.sleep(0.5)
    raise AssertionError("nobody is let in any more")


def test_the_words_of_a_request_have_a_time(photo):
    from test_scan import tiny_scan

    from scan_core.apps.page.viewer import Viewer
    from scan_core.errors import InputError

    viewer = Viewer(tiny_scan(), time_limit=0.0)
    seen = viewer.look(photo)
    words = ",".join(f"word {n}" for n in range(40))
    with pytest.raises(InputError, match="take longer than 0 s"):
        viewer.answer(seen, words, "", 0.5, 0.9, 0)
    assert np.asarray(seen.image).shape == (60, 80, 3)


LIMITS = "gate._UPLOADS_AT_ONCE, gate._UPLOAD_SECONDS = 1, 3; uploads.MOST_BYTES_TOGETHER = 300_000"


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """A server with small limits."""
    with running_page(tmp_path_factory.mktemp("limited"), LIMITS) as running:
        yield running
        assert not running.errors_of_ours()


def _begin_upload(server) -> socket.socket:
    """The beginning of an upload whose rest never comes."""
    host, port = server.address.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10000\r\n"
    kind = "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    connection.sendall((head + kind).encode())
    return connection


def test_an_upload_has_a_time_and_few_come_at_once(limited, photo):
    visitor = limited.visitor()
    with _begin_upload(limited) as slow:
        time.sleep(1)
        with pytest.raises(requests.HTTPError, match="503"):
            visitor.upload(photo)
        answer = b""
        while b"long" not in answer and (part := slow.recv(10_000)):
            answer += part
        assert b" 408 " in answer
        assert b"took too long" in answer
    assert visitor.upload(photo).endswith("photo.png")


def test_all_uploads_together_have_a_size_and_the_oldest_go(limited, tmp_path):
    visitor, paths = limited.visitor(), []
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (180, 200, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")  # of some 108 kB
        paths.append(visitor.upload(tmp_path / f"{number}.png"))
    files = [visitor.session.get(f"{limited.address}/gradio_api/file={path}") for path in paths]
    assert files[0].status_code == 403
    assert files[3].status_code == 200
    assert "choose an image first" in shown(visitor.ask({"path": paths[0], "meta": FILE}))
    assert shown(visitor.ask({"path": paths[3], "meta": FILE})).endswith(".png")
