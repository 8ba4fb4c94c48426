"""One page of everything that a recipe has found: the main table first, then figures and pictures.

The page is one file that needs no other, and no server.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from scan_core.errors import InputError
from scan_core.reporting.names import capitalised
from scan_core.reporting.page_images import figure_tag, picture_tag
from scan_core.reporting.results import Evaluation, GivenMethod
from scan_core.reporting.tables.grid_tables import grid_tables
from scan_core.reporting.tables.grids import Grid
from scan_core.reporting.tables.published_table import published_table
from scan_core.reporting.tables.result_tables import detail_table, main_table

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2933; margin: 0; background: #fff; }
nav { position: fixed; inset: 0 auto 0 0; width: 190px; padding: 20px 16px; overflow: auto;
  background: #f5f7fa; border-right: 1px solid #e4e7eb; font-size: 14px; }
nav a { display: block; padding: 3px 0; color: #0b7285; text-decoration: none; }
nav a:hover { text-decoration: underline; }
nav a.inner { padding-left: 12px; font-size: 13px; overflow-wrap: anywhere; }
main { margin-left: 190px; padding: 16px 24px 60px; }
h1 { font-size: 22px; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 44px 0 8px; padding-bottom: 4px; border-bottom: 1px solid #e4e7eb; }
h3 { font-size: 16px; margin: 26px 0 6px; }
p { max-width: 62em; color: #52606d; margin: 6px 0 12px; }
img { max-width: 100%; height: auto; display: block; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 4px 10px; text-align: left; border-bottom: 1px solid #e4e7eb; }
th { border-bottom: 2px solid #9aa5b1; vertical-align: bottom; }
tr:hover td { background: #f5f7fa; }
.number { text-align: right; white-space: nowrap; }
details { margin: 8px 0; }
summary { cursor: pointer; color: #0b7285; }
.dense table { font-size: 12px; }
.dense th, .dense td { padding: 2px 6px; }
pre { font-size: 12px; background: #f5f7fa; padding: 12px; overflow-x: auto; }
@media (max-width: 900px) { nav { display: none; } main { margin-left: 0; padding: 12px; } }
@media print { nav { display: none; } main { margin-left: 0; } }
"""
_TRAININGS = {
    "clip": "CLIP",
    "segmenter": "Segmenter",
    "clip_finetune": "CLIP, fine-tuned on masked crops",
}


@dataclass(frozen=True)
class ReportFiles:
    """Images of a report, made before.

    Attributes:
        figures: folder of the figures, PNG.
        pictures: benchmark -> panels of predictions, PNG.
        sheets: benchmark -> samples of the data set, PNG.
    """

    figures: Path
    pictures: Mapping[str, Path]
    sheets: Mapping[str, Path]

    def figure(self, name: str, description: str) -> str:
        """A figure as an element of the page.

        Raises:
            InputError: it is missing.
        """
        return figure_tag(self.figures / f"{name}.png", description)


@dataclass(frozen=True)
class _Section:
    """A heading, what stands below it, and headings within it: anchor -> (words, contents)."""

    anchor: str
    heading: str
    contents: str
    inner: Mapping[str, tuple[str, str]]


def report_page(
    evaluations: Sequence[Evaluation],
    grids: Sequence[Grid],
    architecture: str,
    recipe: str,
    files: ReportFiles,
    given: Sequence[GivenMethod] = (),
) -> str:
    """The page, as HTML.

    Args:
        evaluations: of one model, at least one.
        grids: of the same recipe, with their figures in `files`.
        architecture: of its CLIP, such as `ViT-L-14`.
        recipe: its text, for the end of the page.
        files: the images.
        given: predictions of other models.

    Raises:
        InputError: an image is missing or damaged, or there is no picture of any benchmark.
    """
    model = evaluations[0]
    first = next((e.benchmark for e in evaluations if e.benchmark in files.pictures), None)
    if first is None:
        raise InputError("a report needs the pictures of a benchmark that was evaluated")
    table = main_table(evaluations, given)
    title = f"SCAN: results of the recipe {model.recipe}"
    front = (
        f"<h1>{escape(title)}</h1>\n<p>Model {escape(model.variant)}. Mean IoU, %, by the "
        "segmenter's own classifier (in-vocabulary), by CLIP on masked crops, and by both "
        f'combined.</p>\n<div class="wide">{table.html(heading="")}</div>\n'
        + picture_tag(files.pictures[first], f"Predictions on an image of {first}", first_row=True)
    )
    sections = [
        _classes(evaluations, files, given),
        *_grids(grids, files),
        _pictures(files),
        _trainings(files),
        _datasets(files),
        _tables(evaluations, architecture, given),
        _Section("recipe", "Recipe", f"<pre>{escape(recipe)}</pre>", {}),
    ]
    menu = ['<a href="#top">Main results</a>']
    body = [f'<div id="top">{front}</div>']
    for section in sections:
        menu.append(f'<a href="#{section.anchor}">{escape(section.heading)}</a>')
        body.append(f'<h2 id="{section.anchor}">{escape(section.heading)}</h2>{section.contents}')
        for anchor, (words, contents) in section.inner.items():
            menu.append(f'<a class="inner" href="#{anchor}">{escape(words)}</a>')
            body.append(f'<h3 id="{anchor}">{escape(words)}</h3>\n{contents}')
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<nav>{''.join(menu)}</nav>\n<main>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
    )


def _classes(
    evaluations: Sequence[Evaluation], files: ReportFiles, given: Sequence[GivenMethod]
) -> _Section:
    inner = {}
    for benchmark in (e.benchmark for e in evaluations):
        bars = files.figure(f"per_class_{benchmark}", f"IoU of each class of {benchmark}")
        pairs = files.figure(f"confusion_{benchmark}", f"Confused classes of {benchmark}")
        for method in given:
            if benchmark in method.evaluations:
                words = f"IoU of each class of {benchmark}, {method.label}"
                pairs += files.figure(f"per_class_{benchmark}_{method.name}", words)
        inner[f"classes-{benchmark}"] = (benchmark, bars + pairs)
    overview = files.figure("seen_unseen", "mIoU of all, seen and unseen classes")
    return _Section("classes", "Seen and unseen classes", overview, inner)


def _grids(grids: Sequence[Grid], files: ReportFiles) -> Iterator[_Section]:
    if not grids:
        return
    inner = {}
    for grid in grids:
        tables = grid_tables(grid)
        first = "".join(f'<div class="wide">{one.html("")}</div>' for one in tables[:1])
        more = "".join(f'<div class="wide">{one.html("h4")}</div>' for one in tables[1:])
        inner[f"grid-{grid.name}"] = (
            capitalised(grid.name.replace("_", " ")),
            files.figure(f"ablation_{grid.name}", f"The grid {grid.name}")
            + first
            + (f"<details><summary>Other metrics</summary>{more}</details>" if more else ""),
        )
    yield _Section("grids", "Grids", "", inner)


def _pictures(files: ReportFiles) -> _Section:
    words = "One class has one colour in all maps of a benchmark; wrong pixels are hatched."
    inner = {
        f"pictures-{benchmark}": (benchmark, picture_tag(path, f"Predictions on {benchmark}"))
        for benchmark, path in files.pictures.items()
    }
    return _Section("pictures", "Predictions", f"<p>{words}</p>", inner)


def _trainings(files: ReportFiles) -> _Section:
    inner = {
        f"training-{name}": (words, files.figure(f"curves_{name}", f"Training curves: {words}"))
        for name, words in _TRAININGS.items()
        if (files.figures / f"curves_{name}.png").is_file()
    }
    return _Section("trainings", "Training curves", "", inner)


def _datasets(files: ReportFiles) -> _Section:
    words = "Samples after conversion, with the names of the classes. Pixels without ground truth "
    inner = {
        f"data-{benchmark}": (benchmark, picture_tag(path, f"Samples of {benchmark}"))
        for benchmark, path in files.sheets.items()
    }
    return _Section("datasets", "Datasets", f"<p>{words}are left uncoloured.</p>", inner)


def _tables(
    evaluations: Sequence[Evaluation], architecture: str, given: Sequence[GivenMethod]
) -> _Section:
    details = detail_table(evaluations, given)
    published = published_table(evaluations, architecture, given)
    inner = {
        "details": ("All metrics", f'<div class="wide dense">{details.html("")}</div>'),
        "published": (published.title, f'<div class="wide dense">{published.html("")}</div>'),
    }
    return _Section("tables", "Tables", "", inner)
