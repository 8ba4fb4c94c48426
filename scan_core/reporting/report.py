"""One page of everything that a recipe has found: the main table first, then figures and pictures.

The page is one file that needs no other, and no server.
"""

import base64
import json
import os
import platform
import re
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from scan_core.errors import InputError
from scan_core.params.provenance import checked_out_commit
from scan_core.reporting.diagnosis import cut_table, ladder_table, load_cuts, tuned_table
from scan_core.reporting.figures import TRAININGS
from scan_core.reporting.findings import Findings
from scan_core.reporting.grids import grid_tables
from scan_core.reporting.results import load_timings
from scan_core.reporting.tables import combined, render
from scan_core.storage.files import write_text

WIDEST = 1020  # pixels that the page has room for
_FIGURE_SCALE = 2 / 3  # figures are drawn with 150 dots an inch and shown with 100
_QUALITY = 88  # of pictures; figures are lossless


def report_page(
    found: Findings,
    pictures: list[Path],
    sheets: list[Path],
    figures: Path,
    output: Path,
    timings: Path | None = None,
) -> None:
    """Write one HTML page of all tables, figures and images of a recipe.

    Args:
        found: its results.
        pictures: BENCHMARK.png, panels of predictions.
        sheets: samples of the data of each benchmark.
        figures: folder of PNG files.
        output: HTML to write.
        timings: folder of Snakemake's benchmark files.

    Raises:
        InputError: an image is missing or damaged.
    """
    results, tables = found.results, found.tables()
    page = render(
        "report.html.jinja",
        title=f"SCAN: results of the recipe {results['recipe'].iloc[0]}",
        finding=finding(results[~results["external"]]),
        small=isinstance(found.recipe["clip"]["architecture"], dict),
        day=date.today(),
        commit=checked_out_commit(),
        machine=_machine(),
        times=load_timings(timings).sum() if timings else None,
        hours=lambda seconds: timedelta(seconds=round(seconds)),
        main=tables["main"].with_note(found.note),
        front=embedded(pictures[0], first_row=True),
        tables=tables,
        evaluations=combined(results, external=True).to_dict("records"),
        diagnoses={record["benchmark"]: record for record in found.diagnoses},
        grids=found.grids,
        pictures=pictures,
        sheets=sheets,
        trainings={n: w for n, w in TRAININGS.items() if (figures / f"curves_{n}.png").is_file()},
        recipe=json.dumps(found.recipe, indent=1, ensure_ascii=False),
        figure=lambda name: embedded(figures / f"{name}.png", _FIGURE_SCALE, lossless=True),
        picture=embedded,
        cut_table=lambda path: cut_table(load_cuts([path])),
        grid_tables=grid_tables,
        ladder_table=ladder_table,
        tuned_table=tuned_table,
    )
    write_text(output, page)


def finding(results: pd.DataFrame) -> str:
    """What the main table says, in one sentence."""
    miou = 100 * results.pivot(index="benchmark", columns="classifier", values="miou")
    mean, number = miou.mean(), len(miou)
    over = f", averaged over {number} benchmarks" if number > 1 else f" on {miou.index[0]}"
    gains = []
    for name, words in {
        "clip_only": "CLIP",
        "in_vocabulary": "the in-vocabulary classifier",
    }.items():
        gain = mean["combined"] - mean[name]
        won = int((miou["combined"] > miou[name]).sum())
        word = "more" if gain >= 0 else "less"
        on = f" (higher on {won} of {number})" if number > 1 else ""
        gains.append(f"{abs(gain):.1f} points {word} than {words} alone{on}")
    return (
        f"Both classifiers combined reach a mean IoU of {mean['combined']:.1f} %{over} "
        f"(chance: {mean['chance']:.1f} %): {', and '.join(gains)}."
    )


def _machine() -> str:
    about = Path("/proc/cpuinfo")
    text = about.read_text(encoding="utf-8") if about.is_file() else ""
    name = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return f"{name[1] if name else platform.machine()} with {os.cpu_count()} cores"


def embedded(
    path: Path, scale: float = 1.0, lossless: bool = False, first_row: bool = False
) -> dict[str, Any]:
    """An image as a page holds it, no larger than it is shown.

    Args:
        path: PNG; its texts may be `rows`, the lower ends of its rows in pixels, and `benchmark`.
        scale: shown pixels for each of its own.
        lossless: as lines and letters need it; photographs and label maps do not.
        first_row: leave out all rows but the first.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with Image.open(path) as image:
            benchmark = image.info.get("benchmark")
            lower = json.loads(image.info["rows"])[0] if first_row else image.height
            width = min(WIDEST, round(image.width * scale))
            height = max(1, round(lower * width / image.width))
            part = image.convert("RGB").crop((0, 0, image.width, lower))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); make it again") from None
    contents = BytesIO()
    shown = part.resize((width, height), Image.Resampling.LANCZOS)
    shown.save(contents, "WEBP", lossless=lossless, quality=_QUALITY, method=4)
    data = base64.b64encode(contents.getvalue()).decode()
    return {"data": data, "width": width, "height": height, "benchmark": benchmark}
