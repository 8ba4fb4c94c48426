"""The page: one's own image in any words, and nothing else of the machine, whatever is asked."""

import base64
import json
import shutil
import socket
import threading
import time
from io import BytesIO

import numpy as np
import pytest
import requests
import uvicorn
from PIL import Image
from small_models import picture_of, tiny_scan

from scan_core.apps import page_server
from scan_core.apps.page_server import Viewer, application

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


class CountedViewer(Viewer):
    looks = answers = 0

    def look(self, content):
        self.looks += 1
        return super().look(content)

    def answer(self, *asked):
        self.answers += 1
        return super().answer(*asked)


@pytest.fixture(scope="module")
def viewer():
    scan = tiny_scan()
    scan.header["checkpoint"] = {"path": "/srv/private/model.safetensors"}
    return CountedViewer(scan)


@pytest.fixture(scope="module")
def address(viewer):
    """Of the server, in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application(viewer, {"127.0.0.1"}), log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = server.force_exit = True
    thread.join()


def file_of(picture, kind="PNG", **options):
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


PHOTO = file_of(Image.fromarray(picture_of(60, 80)))


def ask(address, content=PHOTO, *, headers=None, **values):
    question = {"names": "sea, sand", "clip_weight": 0.5, "mask_threshold": 0.9, **values}
    if content is not None:
        question["image"] = base64.b64encode(content).decode()
    return requests.post(f"{address}/segment", json=question, headers=headers, timeout=60)


def expanded(runs):
    return np.repeat(runs["values"], runs["lengths"])


def test_an_image_is_segmented_and_the_networks_run_once(address, viewer):
    before = viewer.looks
    first = ask(address, names="sea, sand | beach, Straße").json()
    assert [one["name"] for one in first["classes"]] == ["sea", "sand", "Straße"]
    ids = expanded(first["map"]).reshape(60, 80)
    picture = Image.open(BytesIO(base64.b64decode(first["labels"].partition(",")[2])))
    assert np.array_equal(np.asarray(picture), ids)
    assert [one["pixels"] for one in first["classes"]] == np.bincount(ids.flat, None, 3).tolist()
    assert sum(one["area"] for one in first["segments"]) == ids.size
    assert "its results for Straße are guesses" in first["notes"][0]
    again = ask(address, None, key=first["key"], clip_weight=1.0, proposals=True).json()
    assert "image" not in again
    assert viewer.looks == before + 1
    scores = [one["score"] for one in again["proposals"]]
    assert scores == sorted(scores, reverse=True)
    assert len(expanded(again["proposals"][0]["mask"])) == ids.size
    assert ask(address, None, key="of another visitor").json() == {"forgotten": True}
    weighed = ask(address, None, key=first["key"], minimum_score=1.0).json()
    assert weighed["classes"][-1]["pixels"] > 0.9 * ids.size, "nearly all is background"


SCANS = file_of(Image.new("L", (9, 9)), "JPEG", progressive=True) + 200 * b"\xff\xda"
HUGE = file_of(Image.new("1", (13_000, 13_000)))


@pytest.mark.parametrize(
    ("content", "values", "says"),
    [
        (None, {}, "choose an image first"),
        (b"no image", {}, "the image is no image, or of a kind that is not read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", {}, "of a kind that is not read"),
        (PHOTO[:-400], {}, "damaged"),
        (HUGE, {}, "13000 x 13000 pixels, more than the 50 million"),
        (SCANS, {}, "is a progressive JPEG of 2"),
        (b"\0" * 41_000_000, {}, "more than 40 MB"),
        (PHOTO, {"names": ","}, "class 1 of 2 has an empty name"),
        (PHOTO, {"names": "@/etc/passwd"}, "type the class names"),
        (PHOTO, {"background": "@/etc/passwd"}, "type the class names"),
        (PHOTO, {"names": "a" * 10_001}, "at most 10000 characters"),
        (PHOTO, {"names": ",".join(f"t{n}" for n in range(400))}, "400 names: the page takes at"),
        (PHOTO, {"names": 7}, "names: Input should be a valid string"),
        (PHOTO, {"names": "\ud800"}, "request: Invalid JSON"),
        (PHOTO, {"clip_weight": 7}, "clip_weight: Input should be less than or equal to 1"),
        (PHOTO, {"path": "/etc/passwd"}, "path: Extra inputs are not permitted"),
        (None, {"image": "http://127.0.0.1/x.png"}, ""),
        (None, {"image": {"path": "/etc/passwd"}}, "image: "),
    ],
)  # fmt: skip
def test_whatever_cannot_be_segmented_is_told(address, viewer, content, values, says):
    answer = ask(address, content, **values)
    assert answer.status_code in (413, 422)
    error = answer.json()["error"]
    assert says in error
    assert "/srv" not in error
    assert "/tmp" not in error


def test_the_words_of_a_request_have_a_time(address, monkeypatch):
    monkeypatch.setattr(page_server, "WORD_SECONDS", 0.0)
    assert "take longer than 0 s" in ask(address, names="sea, sand").json()["error"]


def test_only_this_page_may_ask(address):
    """No other site's page, and no name that was made to point here."""
    foreign = {"Host": "evil.example", "Origin": "http://evil.example"}
    assert ask(address, headers=foreign).status_code == 400
    answer = ask(address, headers={"Origin": "http://evil.example"})
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    plain = requests.post(f"{address}/segment", "{}", headers={"Content-Type": "text/plain"})
    assert plain.status_code == 415
    assert requests.options(f"{address}/segment").status_code == 405
    page = requests.get(address)
    assert "default-src 'none'; script-src 'nonce-" in page.headers["Content-Security-Policy"]
    assert "innerHTML" not in page.text
    assert "/srv" not in requests.get(f"{address}/start").text


@pytest.mark.parametrize("path", ["/file=/etc/passwd", "/../../etc/passwd", "/%00", "/start/%00"])
def test_there_are_no_other_addresses(address, path):
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert b" 404 " in connection.recv(1000)


def _begin(address, length="10000"):
    """The beginning of an upload whose rest never comes."""
    connection = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 20)
    head = "POST /segment HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {length}\r\n\r\n{{".encode())
    return connection


def test_slow_uploads_end_and_shut_nobody_out(address, monkeypatch):
    monkeypatch.setattr(page_server, "UPLOAD_SECONDS", 2.0)
    slow = [_begin(address) for _ in range(30)]
    assert ask(address).status_code == 200
    for connection in slow:
        assert b" 408 " in connection.recv(1000)
        connection.close()
    with _begin(address, "9" * 5000) as endless:
        assert b" 400 " in endless.recv(1000)


def test_few_wait_and_the_others_are_told_to_come_again(address, viewer, monkeypatch):
    monkeypatch.setattr(page_server, "MOST_WAITING", 3)
    go_on, look, answers = threading.Event(), viewer.look, []
    monkeypatch.setattr(viewer, "look", lambda content: go_on.wait(60) and look(content))
    threads = [
        threading.Thread(target=lambda: answers.append(ask(address).status_code)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 30
    while len(answers) < 5 and time.monotonic() < end:
        time.sleep(0.05)
    assert answers == [503] * 5
    go_on.set()
    for thread in threads:
        thread.join()
    assert answers[5:] == [200] * 3
    monkeypatch.setattr(page_server, "BYTES_AT_ONCE", 1000)
    assert ask(address).status_code == 503


def test_of_a_defect_only_that_it_is_one_is_told(address, viewer, monkeypatch):
    monkeypatch.setattr(viewer, "answer", lambda *_: 1 / 0)
    answer = ask(address)
    assert answer.status_code == 500
    assert answer.json() == {"error": "something went wrong; the server's log says what"}


@pytest.mark.slow
@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are missing")
def test_the_page_in_a_browser(address, viewer, tmp_path):
    """Examples, uploads, sliders, one class or proposal alone; names as text; no other server."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1300,1600"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(DRIVER)) as browser:

        def find(selector):
            return browser.find_element("css selector", selector)

        def wait(condition):
            return WebDriverWait(browser, 60).until(lambda _: condition())

        def settled():
            wait(lambda: "busy" not in find("body").get_attribute("class"))

        def rows():
            return [row.text for row in browser.find_elements("css selector", "#rows tr")]

        def picture():
            return browser.execute_script("return document.querySelector('#overlay').toDataURL()")

        browser.get(address)
        wait(lambda: browser.find_elements("css selector", "#examples img"))
        find("#segment").click()
        wait(lambda: "choose an image first" in find("#error").text)
        before = viewer.looks
        find("#examples button").click()
        words = wait(lambda: find("#lists").is_displayed()) and find("#names").get_property("value")
        assert {row.split()[0] for row in rows()} <= set(words.replace(",", "").split())
        assert len(rows()) == len(words.split(","))
        old = viewer.answers
        find("#clip_weight").send_keys(Keys.ARROW_LEFT * 4)
        wait(lambda: viewer.answers > old)
        settled()
        assert viewer.looks == before + 1, "the networks run once"
        whole = picture()
        webdriver.ActionChains(browser).move_to_element(find("#overlay")).perform()
        assert "% of the image" in find("#pointed").text
        find("#by_proposal").click()
        wait(lambda: find("#head").text.startswith("Proposal"))
        settled()
        assert len(rows()) > 1
        find("#rows tr").click()
        assert picture() != whole
        Image.fromarray(picture_of(90, 120)).save(tmp_path / "photo.png")
        find("#file").send_keys(str(tmp_path / "photo.png"))
        wait(lambda: not find("#lists").is_displayed())
        find("#names").clear()
        find("#names").send_keys("<img src=x onerror=alert(1)>, sea", Keys.ENTER)
        wait(lambda: find("#lists").is_displayed())
        find("#by_class").click()
        wait(lambda: any("<img src=x onerror=alert(1)>" in row for row in rows()))
        assert find("#save_labels").get_attribute("href").startswith("data:image/png")
        log = [entry for entry in browser.get_log("browser") if entry["source"] != "network"]
        assert not log, "no script of a name ran, and none of ours failed"
        events = [json.loads(entry["message"]) for entry in browser.get_log("performance")]
        asked = {
            event["message"]["params"]["request"]["url"]
            for event in events
            if event["message"]["method"] == "Network.requestWillBeSent"
        }
        assert f"{address}/segment" in asked
        assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]
