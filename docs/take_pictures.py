"""Take the pictures of the documentation from the results of the demo: what it makes now.

After `make demo`: `python -m docs.take_pictures`. The picture of the page needs Chromium and its
driver, and selenium; the page itself runs as long as its picture is taken.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent / "pictures"
_PANEL_ROWS = 2
_WIDTH = 1200  # pixels, of JPEG pictures
_PAGE = (1300, 1200)  # pixels
_EXAMPLE = 1  # of the page
_SECONDS = 180


def from_results(results: Path, benchmarks: Path, output: Path) -> None:
    """The first panels of a benchmark, and the sheet of its samples, as JPEG.

    Args:
        results: folder of the recipe.
        benchmarks: folder of its converted benchmarks.
        output: where to write.
    """
    with Image.open(results / "qualitative/mini_ade_87.png") as panels:
        lower = json.loads(panels.info["rows"])[:_PANEL_ROWS][-1]
        _save(panels.crop((0, 0, panels.width, lower)), output / "mini_panels.jpg")
    (sheet_file,) = benchmarks.glob("mini_ade_36-*/sheet.png")
    with Image.open(sheet_file) as sheet:
        _save(sheet, output / "mini_ade_36.jpg")


def of_the_page(model: Path, output: Path) -> None:
    """The page in a browser, after it has segmented an example.

    Args:
        model: checkpoint.
        output: folder to write to.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "scan_core.apps.page", "--port", str(port), "--device", "cpu"]
    server = subprocess.Popen([*command, "--checkpoint", str(model)])
    options = webdriver.ChromeOptions()
    for argument in ("headless=new", "no-sandbox", f"window-size={_PAGE[0]},{_PAGE[1]}"):
        options.add_argument(f"--{argument}")
    try:
        _wait_for(port, server)
        browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            wait = WebDriverWait(browser, _SECONDS)
            browser.get(f"http://127.0.0.1:{port}")
            wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "#examples button"))
            browser.find_elements(By.CSS_SELECTOR, "#examples button")[_EXAMPLE].click()
            wait.until(lambda b: b.find_element(By.ID, "result").is_displayed())
            time.sleep(2)  # the picture is drawn
            browser.save_screenshot(str(output / "page.png"))
        finally:
            browser.quit()
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until and server.poll() is None:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise SystemExit("error: the page does not start")


def _save(image: Image.Image, path: Path) -> None:
    height = round(image.height * _WIDTH / image.width)
    image.convert("RGB").resize((_WIDTH, height), Image.Resampling.LANCZOS).save(path, quality=88)


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results/mini"), metavar="DIR")
    parser.add_argument(
        "--benchmarks", type=Path, default=Path("data/mini/benchmarks"), metavar="DIR"
    )
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="DIR")
    arguments = parser.parse_args()
    from_results(arguments.results, arguments.benchmarks, arguments.output)
    of_the_page(arguments.results / "release/model.safetensors", arguments.output)


if __name__ == "__main__":
    main()
