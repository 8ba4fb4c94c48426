"""The report of one page: what its first screen shows, its size, and the size of its images."""

import base64
import json
import re
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from test_reporting import evaluation, grid_file

from scan_core.errors import InputError
from scan_core.reporting.page_images import WIDEST
from scan_core.reporting.report_page import ReportFiles, report_page
from scan_core.reporting.results import load_evaluations
from scan_core.reporting.tables.grids import load_grid

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
BENCHMARKS = ("mini_ade_36", "mini_voc_10")
MOST_BYTES = 8_000_000


def noise(path: Path, width: int, height: int, rows: list[int] | None = None) -> Path:
    """A picture that no format makes small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    about = PngInfo()
    if rows:
        about.add_text("rows", json.dumps(rows))
    Image.fromarray(pixels).save(path, pnginfo=about)
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    figures = folder / "figures"
    names = ["seen_unseen", "ablation_weights", "curves_segmenter"]
    names += [f"{kind}_{name}" for kind in ("per_class", "confusion") for name in BENCHMARKS]
    for name in names:
        noise(figures / f"{name}.png", 300, 150)
    rows = [(0, "mini_ade_36", (v,), v) for v in (0.1, 0.2)]
    panels = {name: noise(folder / f"{name}.png", 1340, 900, [310, 900]) for name in BENCHMARKS}
    text = report_page(
        load_evaluations([evaluation(folder, name) for name in BENCHMARKS]),
        [load_grid(grid_file(folder / "weights.csv", ["inference.clip_weight"], rows))],
        "small",
        '{"seed": "<0>"}',
        ReportFiles(figures, panels, {"mini_coco_24": noise(folder / "sheet.png", 1400, 500)}),
    )
    path = folder / "report.html"
    path.write_text(text)
    return path


def images_of(page: Path) -> list[tuple[int, int, Image.Image]]:
    """Width and height that the page gives each image, and the image."""
    found = re.findall(
        r'<img src="data:image/webp;base64,([^"]+)" width="(\d+)" height="(\d+)"', page.read_text()
    )
    assert len(found) == page.read_text().count("<img ")
    return [
        (int(width), int(height), Image.open(BytesIO(base64.b64decode(data))))
        for data, width, height in found
    ]


def test_no_image_is_larger_than_it_is_shown(page):
    images = images_of(page)
    assert len(images) == 1 + 7 + 2 + 1
    for width, height, image in images:
        assert image.size == (width, height)
        assert width <= WIDEST
    assert page.stat().st_size < MOST_BYTES, "though nothing of it can be compressed"
    # Of the panels the first row alone stands beside the main table.
    assert images[0][:2] == (WIDEST, round(310 * WIDEST / 1340))


def test_the_page_begins_with_the_main_table_and_needs_no_other_file(page):
    text = page.read_text()
    main, picture = text.index("<table>"), text.index("<img ")
    assert text.index("<nav>") < main < picture < text.index("<h2 ")
    assert "<td>combined</td>" in text[main:picture]
    assert not re.findall(r'(?:src|href)="(?!#|data:)', text)
    anchors = set(re.findall(r' id="([^"]+)"', text))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= anchors
    assert "&lt;0&gt;" in text, "the recipe is text"


def test_a_missing_figure_is_named(tmp_path):
    evaluations = load_evaluations([evaluation(tmp_path, "mini_ade_36")])
    files = ReportFiles(tmp_path, {"mini_ade_36": noise(tmp_path / "p.png", 60, 30)}, {})
    with pytest.raises(InputError, match=r"per_class_mini_ade_36\.png cannot be read"):
        report_page(evaluations, [], "small", "", files)
    with pytest.raises(InputError, match="pictures of a benchmark"):
        report_page(evaluations, [], "small", "", ReportFiles(tmp_path, {}, {}))


@pytest.mark.slow
@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium")
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (400, 800)])
def test_the_first_screen(page, width, height):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-gpu"):
        options.add_argument(f"--{argument}")
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        # The window itself may not be made so narrow.
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(page.as_uri())
        places = browser.execute_script(
            "return [document.querySelector('table'), document.querySelector('img')]"
            ".map(e => { const b = e.getBoundingClientRect();"
            " return [b.left, b.top, b.right, b.bottom]; })"
        )
        table, picture = places
        assert 0 <= table[1] < table[3] < height
        assert 0 <= picture[0] < picture[2] <= width
        assert picture[1] < height - 60, "a part of the picture, at least, is to be seen"
        if width == 1280:
            assert picture[3] <= height, "all of the picture"
            shown = browser.execute_script(
                "return [...document.images].map(i => [i.clientWidth, i.naturalWidth])"
            )
            assert all(client == natural for client, natural in shown)
        assert browser.execute_script("return document.body.scrollWidth") <= width
    finally:
        browser.quit()
