"""The page in a real browser: upload, type, move a slider, read an error, ask no other server."""

import json
import shutil
import time

import pytest
from page_server import running_page
from PIL import Image
from small_models import picture_of, tiny_scan

from scan_core.apps.page.viewer import Viewer
from scan_core.errors import InputError

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"
)


class Page:
    """A browser, the page's address, and the server's log."""

    def __init__(self, browser, address, log):
        self.browser, self.address, self.log = browser, address, log

    def find(self, selector):
        from selenium.webdriver.common.by import By

        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def wait(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := condition():
                return value
            time.sleep(0.1)
        raise AssertionError(f"waited in vain; the server says: {self.log.read_text()}")

    def script(self, text, *arguments):
        return self.browser.execute_script(text, *arguments)

    def overlay(self):
        return self.script("return document.querySelector('#overlay img')?.src")

    def type(self, selector, text):
        from selenium.webdriver.common.keys import Keys

        box = self.find(selector)
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(text)

    def segment(self):
        self.find("#segment").click()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1300,1200"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    with running_page(tmp_path_factory.mktemp("web")) as server:
        browser = webdriver.Chrome(options=options, service=Service(DRIVER))
        try:
            page = Page(browser, server.address, server.log)
            browser.get(page.address)
            page.wait(lambda: page.script("return document.querySelector('#segment')"))
            yield page
        finally:
            browser.quit()


@needs_chromium
@pytest.mark.slow
def test_the_page_from_upload_to_slider(page, tmp_path):
    from selenium.webdriver.common.keys import Keys

    page.segment()
    page.wait(lambda: "choose an image first" in page.find("body").text)
    Image.fromarray(picture_of(90, 120)).save(tmp_path / "photo.png")
    page.find("#image input[type=file]").send_keys(str(tmp_path / "photo.png"))
    page.wait(lambda: page.script("return document.querySelector('#image img')"))
    page.type("#names textarea", "sea, sand, red ball | kite, Straße")
    page.segment()
    first = page.wait(page.overlay)
    rows = page.wait(lambda: page.find("#classes").text)
    assert all(name in rows for name in ("sea", "sand", "red ball", "Straße"))
    assert "English captions" in rows
    for slider, key in (("weight", Keys.ARROW_LEFT), ("threshold", Keys.ARROW_RIGHT)):
        page.find(f"#{slider} input[type=range]").send_keys(key * 7)
        before = first
        first = page.wait(lambda old=before: page.overlay() != old and page.overlay())
    assert page.log.read_text().count("looked at") == 1, "the networks run once"
    page.type("#names textarea", "sea, sea")
    page.segment()
    page.wait(lambda: "class name 'sea' is given twice" in page.find("body").text)
    page.find(".gallery button, .gallery-item").click()
    page.wait(lambda: not page.overlay())
    page.type("#names textarea", "sea, sand")
    page.segment()
    page.wait(page.overlay)
    assert page.log.read_text().count("looked at") == 2
    (tmp_path / "broken.png").write_text("no image")
    page.script("document.querySelector('#image .icon-button-wrapper button').click()")
    page.wait(lambda: not page.script("return document.querySelector('#image img')"))
    page.find("#image input[type=file]").send_keys(str(tmp_path / "broken.png"))
    page.wait(lambda: page.script("return document.querySelector('#image img')"))
    page.segment()
    page.wait(lambda: "broken.png is no image" in page.find("body").text)
    assert "Traceback" not in page.log.read_text()
    asked = (json.loads(entry["message"]) for entry in page.browser.get_log("performance"))
    addresses = {
        entry["message"]["params"]["request"]["url"]
        for entry in asked
        if entry["message"]["method"] == "Network.requestWillBeSent"
    }
    assert len(addresses) > 10
    assert not [a for a in addresses if not a.startswith((page.address, "data:", "blob:"))]


def test_the_networks_run_once_and_files_of_the_server_are_not_read(tmp_path):
    Image.fromarray(picture_of(90, 120)).save(tmp_path / "photo.png")
    viewer = Viewer(tiny_scan())
    seen = viewer.look(tmp_path / "photo.png")
    assert viewer.look(tmp_path / "photo.png", seen) is seen
    with pytest.raises(InputError, match="type the class names"):
        viewer.answer(seen, "@/etc/passwd", "", 0.5, 0.9, 0)
    with pytest.raises(InputError, match="no class names"):
        viewer.answer(seen, "", "", 0.5, 0.9, 0)
