"""One page of everything that a recipe has found: the main table first, then figures and pictures.

The page is one file that needs no other, and no server.
"""

import base64
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from scan_core.errors import InputError
from scan_core.params.provenance import checked_out_commit
from scan_core.reporting.diagnosis import (
    CALIBRATED,
    EXPLAINED,
    cut_table,
    ladder_table,
    tuned_table,
)
from scan_core.reporting.figures import TRAININGS
from scan_core.reporting.grids import Grid, grid_tables
from scan_core.reporting.published import published_table
from scan_core.reporting.results import load_timings
from scan_core.reporting.tables import (
    Section,
    claim_table,
    detail_table,
    main_table,
    render_page,
)

WIDEST = 1020  # pixels that the page has room for
_FIGURE_SCALE = 2 / 3  # figures are drawn with 150 dots an inch and shown with 100
_QUALITY = 88  # of pictures; figures are lossless


def report_page(
    results: pd.DataFrame,
    grids: Sequence[Grid],
    architecture: str,
    recipe: str,
    figures: Path,
    pictures: Mapping[str, Path],
    sheets: Sequence[Path],
    origin: str = "",
    note: str = "",
    diagnoses: Sequence[Mapping[str, Any]] = (),
    cuts: pd.DataFrame = pd.DataFrame(),  # noqa: B008
) -> str:
    """The page, as HTML.

    Args:
        results: see `load_evaluations`.
        grids: of the same recipe.
        architecture: of its CLIP, such as `ViT-L-14`.
        recipe: its text, for the end of the page.
        figures: folder of the figures, PNG.
        pictures: benchmark -> panels of predictions, PNG.
        sheets: samples of data sets, made by `draw_sheet`.
        origin: when, where and by what the results were made.
        note: on the results, below the main table.
        diagnoses: of the benchmarks, see `load_diagnosis`.
        cuts: see `load_cuts`.

    Raises:
        InputError: an image is missing or damaged, or there is no picture of any benchmark.
    """
    ours = results[~results["external"]]
    benchmarks = list(ours["benchmark"].unique())
    first = next((name for name in benchmarks if name in pictures), None)
    if first is None:
        raise InputError("a report needs the pictures of a benchmark that was evaluated")

    def figure(name: str, description: str) -> str:
        return figure_tag(figures / f"{name}.png", description)

    classes = []
    for benchmark in benchmarks:
        images = figure(f"per_class_{benchmark}", f"IoU of each class of {benchmark}")
        images += figure(f"confusion_{benchmark}", f"Confused classes of {benchmark}")
        of = results[(results["benchmark"] == benchmark) & results["external"]]
        for method in of["recipe"]:
            words = f"IoU of each class of {benchmark}, {method}"
            images += figure(f"per_class_{benchmark}_{method}", words)
        classes.append(Section(f"classes-{benchmark}", benchmark, images))
    overview = figure("seen_unseen", "mIoU of all, seen and unseen classes")
    sections = [Section("classes", "Seen and unseen classes", overview, classes)]
    lost: dict[str, str] = dict.fromkeys([record["benchmark"] for record in diagnoses], "")
    for record in diagnoses:
        name = record["benchmark"]
        lost[name] = f'<p class="lead">{escape(record["sentence"])}</p>'
        lost[name] += figure(f"ladder_{name}", f"Where the points of {name} are lost")
        lost[name] += figure(f"calibration_{name}", f"Calibration on {name}")
        lost[name] += tuned_table(record).html() if record.get("tuned") else ""
    for name in benchmarks if len(cuts) else ():
        table = cut_table(cuts[cuts["benchmark"] == name]).html()
        drawn = figure(f"cuts_{name}", f"Which pixels of {name} are wrong")
        table = f"<details><summary>As a table</summary>{table}</details>"
        lost[name] = lost.get(name, "") + drawn + table
    if lost:
        parts = [Section(f"diagnosis-{name}", name, html) for name, html in lost.items()]
        about = ""
        if diagnoses:
            about = f"<p>{EXPLAINED}</p>{ladder_table(diagnoses).html()}<p>{CALIBRATED}</p>"
        sections.append(Section("diagnosis", "Where the points are lost", about, parts))
    if grids:
        parts = [
            Section(
                f"grid-{grid.name}",
                grid.title,
                figure(f"ablation_{grid.name}", f"The grid {grid.name}") + _grid_html(grid),
            )
            for grid in grids
        ]
        sections.append(Section("grids", "Grids", "", parts))
    words = (
        "The images of median, best, upper and lower quartile, and worst mIoU. A class has one "
        "colour in all maps of an image; wrong pixels are hatched, pixels without ground truth "
        "left plain."
    )
    panels = {name: picture_tag(path, f"Predictions on {name}") for name, path in pictures.items()}
    sections.append(_listing("pictures", "Predictions", words, panels))
    curves = {
        words: figure(f"curves_{name}", f"Training curves: {words}")
        for name, words in TRAININGS.items()
        if (figures / f"curves_{name}.png").is_file()
    }
    sections.append(_listing("trainings", "Training curves", "", curves))
    words = "Samples after conversion. Pixels without ground truth are left plain."
    names = {path: _opened(path).info.get("benchmark", path.stem) for path in sheets}
    samples = {name: picture_tag(path, f"Samples of {name}") for path, name in names.items()}
    sections.append(_listing("datasets", "Datasets", words, samples))
    published = published_table(results, architecture)
    tables = {"All metrics": detail_table(results).html(), published.title: published.html()}
    sections.append(_listing("tables", "Tables", "", tables))
    sections.append(Section("recipe", "Recipe", f"<pre>{escape(recipe)}</pre>"))
    return render_page(
        f"SCAN: results of the recipe {ours['recipe'].iloc[0]}",
        sections,
        finding=finding(ours),
        table=main_table(results).with_note(note).html() + _claims(results),
        origin=origin,
        picture=picture_tag(pictures[first], f"Predictions on an image of {first}", True),
    )


def _claims(results: pd.DataFrame) -> str:
    table = claim_table(results)
    if table.cells.empty:
        return ""
    return f"<details open><summary>{table.title}</summary>{table.html()}</details>"


def finding(results: pd.DataFrame) -> str:
    """What the main table says, in one sentence."""
    miou = 100 * results.pivot(index="benchmark", columns="classifier", values="miou")
    mean, number = miou.mean(), len(miou)
    over = f", averaged over {number} benchmarks" if number > 1 else f" on {miou.index[0]}"
    text = f"Both classifiers combined reach a mean IoU of {mean['combined']:.1f} %{over}"
    text += f" (chance: {mean['chance']:.1f} %)" if "chance" in mean else ""
    gains = []
    for name, words in {
        "clip_only": "CLIP",
        "in_vocabulary": "the in-vocabulary classifier",
    }.items():
        if name in mean:
            gain = mean["combined"] - mean[name]
            won = int((miou["combined"] > miou[name]).sum())
            word = "more" if gain >= 0 else "less"
            on = f" (higher on {won} of {number})" if number > 1 else ""
            gains.append(f"{abs(gain):.1f} points {word} than {words} alone{on}")
    return f"{': '.join([text, ', and '.join(gains)] if gains else [text])}."


def origin(day: date, timings: Path | None = None) -> str:
    """Where the page comes from: day, commit, machine and time.

    Args:
        day: of the page.
        timings: folder of Snakemake's benchmark files.
    """
    commit = checked_out_commit()
    about = Path("/proc/cpuinfo")
    lines = about.read_text(encoding="utf-8").splitlines() if about.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    machine = f"{names[0] if names else platform.machine()} with {os.cpu_count()} cores"
    parts = [f"Written on {day}", f"commit {commit[:8]}" if commit else "", f"on {machine}"]
    text = ", ".join(part for part in parts if part) + "."
    if timings is not None and timings.is_dir():
        total = load_timings(timings).sum()
        seconds, busy = (round(total[name]) for name in ("seconds", "processor_seconds"))
        text += (
            f" The jobs took {timedelta(seconds=seconds)} (h:min:s) in all, "
            f"{timedelta(seconds=busy)} of processor time."
        )
    return text


def figure_tag(path: Path, description: str) -> str:
    """A figure as an element of the page: lines and letters, without loss.

    Raises:
        InputError: the file cannot be read.
    """
    return _tag(_opened(path), _FIGURE_SCALE, description, lossless=True)


def picture_tag(path: Path, description: str, first_row: bool = False) -> str:
    """A picture as an element of the page: photographs, label maps.

    Args:
        path: PNG; its text `rows` lists the lower ends of its rows, in pixels.
        description: for those who cannot see it.
        first_row: leave out all rows but the first.

    Raises:
        InputError: the file cannot be read.
    """
    image = _opened(path)
    if first_row:
        lower = json.loads(image.info.get("rows", "[]")) or [image.height]
        image = image.crop((0, 0, image.width, lower[0]))
    return _tag(image, 1.0, description, lossless=False)


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as file:
            file.load()
            return file.copy()
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); make it again") from None


def _tag(image: Image.Image, scale: float, description: str, lossless: bool) -> str:
    """An image no larger than it is shown; where it is shown smaller, a click enlarges it."""
    width = min(WIDEST, round(image.width * scale))
    height = max(1, round(image.height * width / image.width))
    shown = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    contents = BytesIO()
    shown.save(contents, "WEBP", lossless=lossless, quality=_QUALITY, method=4)
    data = base64.b64encode(contents.getvalue()).decode()
    return (
        '<label class="picture"><input type="checkbox" aria-label="Full size">'
        f'<img src="data:image/webp;base64,{data}" width="{width}" height="{height}" '
        f'alt="{escape(description)}"></label>\n'
    )


def _grid_html(grid: Grid) -> str:
    first, *others = grid_tables(grid)
    more = "".join(f"<h4>{escape(table.title)}</h4>\n{table.html()}" for table in others)
    summary = "<details><summary>Other metrics</summary>"
    return first.html() + (f"{summary}{more}</details>" if more else "")


def _listing(anchor: str, heading: str, words: str, parts: Mapping[str, str]) -> Section:
    inner = [Section(f"{anchor}-{number}", *part) for number, part in enumerate(parts.items())]
    return Section(anchor, heading, f"<p>{words}</p>" if words else "", inner)
