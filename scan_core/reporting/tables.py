"""Tables of one model's results, also beside published ones, as CSV, Markdown, LaTeX and HTML."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader

from scan_core.params.classifiers import CLASSIFIERS
from scan_core.params.metric_names import METRICS
from scan_core.reporting.results import excludes_zero
from scan_core.storage.files import write_text

PUBLISHED_FILE = Path(__file__).parent / "published_numbers.csv"
# Benchmark, by the name of its class list -> its column in the file.
PAPER_BENCHMARKS = {
    "ade20k_847": "A847",
    "context_459": "PC459",
    "ade20k_150": "A150",
    "context_59": "PC59",
    "voc_20": "PAS20",
    "voc_20b": "PAS20b",
}
# CLIP architecture -> the row of the paper's model with it.
PAPER_ROWS = {"ViT-B-16": "SCAN B", "ViT-L-14": "SCAN L"}
MISSING = "–"
_PARTS = {"clip_only": "CLIP alone", "in_vocabulary": "in-vocabulary alone"}
_MINUS = "−"
_COLUMNS = list(PAPER_BENCHMARKS.values())
# Column of the published numbers -> its header; mIoU follows.
_ABOUT = {
    "method": "method",
    "venue": "venue",
    "vl_model": "vision-language model",
    "backbone_or_proposal": "backbone or proposals",
    "train_data": "training data",
    "PC459_rule": "PC459 rule",
}
# How a published number was read -> its mark; those that their authors or the quoting paper give
# themselves have none.
_MARKS = {"second-hand": " †", "doubtful": " ‡"}
# The two rules for the mean, the paper's first.
_RULES = ("miou_d2_v06", "miou")
_BOTH_RULES = "; ".join(f"`{rule}`: {METRICS[rule].description}" for rule in _RULES)
# What pdfLaTeX has no letter for.
_LATEX = str.maketrans(
    {_MINUS: "$-$", "±": r"$\pm$", "≤": r"$\leq$", "σ": r"$\sigma$", "◂": r"$\triangleleft$"}
)


@dataclass(frozen=True)
class Table:
    """One table; its cells are texts already.

    Attributes:
        title: one line.
        cells: a column of texts for each column of the table, with unique labels.
        words: how many columns, from the left, are words; the others are numbers.
        note: what a reader must know, below the table. `Code` stands in backticks.
        best: of the shape of `cells`; which of them are bold.
    """

    title: str
    cells: pd.DataFrame
    words: int
    note: str = ""
    best: pd.DataFrame | None = None

    def csv(self) -> str:
        """Header and rows, minus signs as programs read them."""
        plain = self.cells.replace(_MINUS, "-", regex=True)
        return plain.to_csv(index=False, lineterminator="\n")

    def markdown(self) -> str:
        """Title, table and note."""
        cells = self.cells.replace(r"\|", r"\\|", regex=True)
        if self.best is not None:
            cells = cells.mask(self.best, "**" + cells + "**")
        align = ["left"] * self.words + ["right"] * (cells.shape[1] - self.words)
        table = cells.to_markdown(index=False, disable_numparse=True, colalign=align)
        return f"# {self.title}\n\n{table}\n" + (f"\n{self.note}\n" if self.note else "")

    def latex(self) -> str:
        """A `table` environment, for the packages booktabs and adjustbox."""
        caption = re.sub(r"([&%$#_])", r"\\\1", f"{self.title}. {self.note}".replace("`", ""))
        styler = self._styler().format(escape="latex").format_index(escape="latex", axis="columns")
        text = styler.to_latex(
            column_format="l" * self.words + "r" * (self.cells.shape[1] - self.words),
            caption=caption.strip(),
            position_float="centering",
            hrules=True,
            convert_css=True,
        ).translate(_LATEX)
        box = "\\begin{adjustbox}{max width=\\linewidth}\n\\begin{tabular}"
        text = text.replace("\\begin{tabular}", box)
        return text.replace("\\end{tabular}", "\\end{tabular}\n\\end{adjustbox}")

    def html(self) -> str:
        """The table and its note."""
        name = re.sub(r"\W+", "_", self.title)
        right = [{"selector": "", "props": "text-align: right"}]
        numbers: Any = dict.fromkeys(self.cells.columns[self.words :], right)
        styler = self._styler().format(escape="html").format_index(escape="html", axis="columns")
        table = styler.set_table_styles(numbers).set_uuid(name).to_html()
        note = re.sub("`(.*?)`", r"<code>\1</code>", escape(self.note))
        return f'<div class="table">{table}</div>\n' + (f"<p>{note}</p>\n" if note else "")

    def with_note(self, note: str) -> "Table":
        """With another sentence below it."""
        both = f"{self.note} {note}".strip()
        return Table(self.title, self.cells, self.words, both, self.best)

    def _styler(self) -> "pd.io.formats.style.Styler":
        styler = self.cells.reset_index(drop=True).style.hide(axis="index")
        if self.best is None:
            return styler
        bold = np.where(self.best, "font-weight: bold;", "")
        return styler.apply(lambda _: bold, axis=None)


@dataclass(frozen=True)
class Section:
    """A heading of a page, the HTML below it, and what stands within it."""

    anchor: str
    heading: str
    contents: str
    inner: "Sequence[Section]" = ()


def render_page(title: str, sections: Sequence[Section], **front: Any) -> str:
    """A page that needs no other file: a heading for each section.

    Args:
        title: of the page.
        sections: in their order.
        front: what stands before them; see `page.html.jinja`.
    """
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    return environment.get_template("page.html.jinja").render(
        title=title, sections=sections, **front
    )


def write_tables(tables: Sequence[Table], folder: Path, stem: str) -> None:
    """Write tables, one below the other, as `<stem>.md`, `<stem>.tex` and `<stem>.html`."""
    write_text(folder / f"{stem}.md", "\n".join(table.markdown() for table in tables))
    write_text(folder / f"{stem}.tex", "\n".join(table.latex() for table in tables))
    sections = [Section(f"t{n}", t.title, t.html()) for n, t in enumerate(tables)]
    write_text(folder / f"{stem}.html", render_page("", sections))


def percent(fractions: pd.DataFrame) -> pd.DataFrame:
    """Fractions as texts, in % with two decimals; NaN as a dash."""
    return (100 * fractions).map(rounded)


def rounded(value: float, decimals: int = 2) -> str:
    """A number; NaN as a dash."""
    return MISSING if np.isnan(value) else f"{value:.{decimals}f}"


def with_interval(value: float | None, bounds: Sequence[float] | None) -> str:
    """A fraction in %, with its interval if there is one; a dash where it does not exist."""
    if value is None or np.isnan(value):
        return MISSING
    if bounds is None or np.isnan(bounds[0]):
        return rounded(100 * value)
    low, high = (rounded(100 * bound, 1) for bound in bounds)
    return f"{rounded(100 * value)} [{low}, {high}]"


def best_cells(cells: pd.DataFrame, words: int, groups: Any = None) -> pd.DataFrame:
    """Which cells hold the largest number of their column, as shown; none where all are equal.

    Args:
        cells: texts that begin with a number, or hold none.
        words: columns, from the left, that are not compared.
        groups: of the rows, within which they are compared; rows of the group NaN are not.
    """
    groups = np.zeros(len(cells)) if groups is None else groups
    values = cells.apply(lambda c: pd.to_numeric(c.str.partition(" ")[0], errors="coerce"))
    grouped = values.groupby(groups)
    best: pd.DataFrame = values.eq(grouped.transform("max")) & (grouped.transform("nunique") > 1)
    best.iloc[:, :words] = False
    return best


def main_table(results: pd.DataFrame) -> Table:
    """A row for each classifier and external method, a column for each benchmark.

    Methods for which the two rules for the mean differ have a row for each rule.

    Args:
        results: see `load_evaluations`.
    """
    by_rule, numbers = {}, {}
    for rule in _RULES:
        texts = results.assign(text=_with_intervals(results, rule))
        by_rule[rule] = texts.pivot(index="name", columns="benchmark", values="text").fillna(
            MISSING
        )
        numbers[rule] = percent(results.pivot(index="name", columns="benchmark", values=rule))
    paper, modern = by_rule.values()
    differ = (numbers[_RULES[0]] != numbers[_RULES[1]]).any(axis=1)
    ours = list(results.loc[~results["external"], "benchmark"].unique())
    differing = paper[differ]
    blocks = dict(zip(_RULES, (differing, modern), strict=True))
    table = pd.concat(blocks, names=["rule", "classified by"])[ours].reset_index()
    groups = table.pop("rule")
    words = 1
    miou = METRICS["miou"].description
    about = f"mIoU: {miou}; `miou_d2_v06`, the rule of the paper, gives the same values"
    if len(differing):
        table.insert(1, "rule", groups)
        words = 2
        about = f"{_BOTH_RULES}; a row of only one rule: both give the same values"
    table["classified by"] = table["classified by"].astype(str)
    table.columns = table.columns.astype(str)
    first = results.iloc[0]
    note = f"In %. {about}. Chance: the same proposals, each with a random class."
    if results["miou_low"].notna().any():
        note += (
            " In brackets the 95 % interval over the images of the test set (bootstrap, 1,000 "
            "resamples; not over trainings). *: the paired difference to both classifiers "
            "combined has an interval without zero."
        )
    return Table(
        title=f"Mean IoU of {first['recipe']} ({first['variant']})",
        cells=table,
        words=words,
        note=note + _about_external(results, ours),
        best=best_cells(table, words, groups),
    )


def claim_table(results: pd.DataFrame) -> Table:
    """Whether the combination is better than each of its classifiers, on each benchmark.

    Args:
        results: see `load_evaluations`.
    """
    parts = results[results["miou_gain"].notna() & results["classifier"].isin(_PARTS)]
    gain, low, high = (100 * parts[f"miou_gain{end}"] for end in ("", "_low", "_high"))
    texts = [
        f"{one:+.1f} [{lower:+.1f}, {upper:+.1f}]".replace("-", _MINUS)
        for one, lower, upper in zip(gain, low, high, strict=True)
    ]
    unclear = np.where((low == 0) & (high == 0), "the same", "cannot be told")
    verdict = np.where(low > 0, "yes", np.where(high < 0, "no, worse", unclear))
    table = pd.DataFrame(
        {
            "benchmark": parts["benchmark"].astype(str),
            "than": parts["classifier"].map(_PARTS),
            "combined is better": verdict,
            "difference of mIoU": texts,
        }
    ).sort_values("than", kind="stable")
    return Table(
        "Is the combination better than one classifier alone?",
        table.reset_index(drop=True),
        words=3,
        note="In points; in brackets the 95 % interval of the paired difference over the images of "
        "the test set. Cannot be told: it contains zero.",
    )


def _with_intervals(results: pd.DataFrame, metric: str) -> list[str]:
    marked = excludes_zero(results[f"{metric}_gain_low"], results[f"{metric}_gain_high"])
    bounds = results[[metric, f"{metric}_low", f"{metric}_high"]].to_numpy(float)
    return [
        with_interval(value, limits) + ("*" if mark else "")
        for (value, *limits), mark in zip(bounds, marked, strict=True)
    ]


def detail_table(results: pd.DataFrame) -> Table:
    """A row for each benchmark and classifier or external method, a column for each metric.

    Args:
        results: see `load_evaluations`.
    """
    table = pd.concat(
        [
            results[["benchmark", "name", "class_count", "images"]].astype(str),
            percent(results[list(METRICS)]),
        ],
        axis=1,
    )
    names = ["benchmark", "classified by", "classes", "images"]
    table.columns = pd.Index([*names, *(metric.name for metric in METRICS.values())])
    explained = "; ".join(f"{m.name} (`{key}`): {m.description}" for key, m in METRICS.items())
    first = results.iloc[0]
    return Table(
        title=f"All metrics of {first['recipe']} ({first['variant']})",
        cells=table,
        words=2,
        note=f"In %; the best value of each benchmark in bold. {explained}.",
        best=best_cells(table, 4, table["benchmark"]),
    )


def combined_table(results: pd.DataFrame) -> Table:
    """For programs that draw: the combined classifier, a row for each benchmark, in %."""
    ours = _combined(results)
    numbers = [f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")]
    cells = pd.concat([ours["benchmark"].astype(str), percent(ours[numbers])], axis=1)
    return Table("Both classifiers combined", cells, words=1)


def benchmark_metrics(results: pd.DataFrame) -> dict[str, str]:
    """For each benchmark its metrics as JSON, in %, few enough for one line of `dvc metrics show`.

    Those of both classifiers combined have their own names; of each classifier alone there is
    `miou`. Metrics that do not exist are left out.
    """
    shown = ["miou", "miou_d2_v06", "sg_iou", "miou_seen", "miou_unseen"]
    texts = {}
    for benchmark, of in results[~results["external"]].groupby("benchmark", observed=True):
        by_classifier = of.set_index("classifier")
        values = by_classifier.loc["combined", shown]
        alone = by_classifier["miou"].reindex(["in_vocabulary", "clip_only"]).add_suffix("_miou")
        known = (100 * pd.concat([values, alone]).astype(float)).dropna().round(4)
        texts[str(benchmark)] = json.dumps(known.to_dict(), indent=1) + "\n"
    return texts


def load_published() -> pd.DataFrame:
    """The published mIoU in %, a row for each method, in the columns of `PAPER_BENCHMARKS`."""
    return pd.read_csv(PUBLISHED_FILE, keep_default_na=False, na_values={c: [""] for c in _COLUMNS})


def published_table(results: pd.DataFrame, architecture: str) -> Table:
    """The published rows; above them ours, where it was evaluated on a benchmark of the paper.

    Our difference to the paper is by the paper's rule, `miou_d2_v06`, on every benchmark. The best
    published value of each column is marked, on PC459 that of each rule; doubtful ones are not
    among them. With weights from a file the table also says whether we are within 0.1 points of
    the paper's numbers, which are rounded to that.

    Args:
        results: see `load_evaluations`.
        architecture: of the CLIP, such as `ViT-L-14`; without a model of the paper there is no
            difference.
    """
    published = load_published()
    rows = published[[*_ABOUT, *_COLUMNS, "reading"]].copy()
    rows["method"] += rows["reading"].map(_MARKS).fillna("")
    rows[_COLUMNS] = rows[_COLUMNS].map(rounded, decimals=1)
    combined = _combined(results, external=True)
    combined = combined[combined["benchmark"].isin(list(PAPER_BENCHMARKS))]
    recipe = results["recipe"].iloc[0]
    above = [
        _by_rule(of, f"ours ({recipe})", architecture)
        if name == CLASSIFIERS["combined"]
        else _by_rule(of, str(name), MISSING)
        for name, of in combined.groupby("name", observed=True)
    ]
    ours = combined[~combined["external"]]
    title = "Published mIoU on the real benchmarks"
    remark = (
        f"The recipe {recipe} was not evaluated on any of these benchmarks: its own numbers are "
        "not comparable to these."
    )
    if len(ours):
        title = f"{recipe} and published mIoU"
        counts = zip(ours["benchmark"], ours["images"], strict=True)
        images = ", ".join(f"{PAPER_BENCHMARKS[name]} {count}" for name, count in counts)
        remark = f"Ours: in-vocabulary and CLIP combined; images: {images}."
        paper = published[published["method"] == PAPER_ROWS.get(architecture)]
        if len(paper):
            above.insert(1, rows.loc[paper.index].drop(columns="reading"))
            above.insert(2, _difference(ours, paper.iloc[0]))
            if ours["imported"].any():
                above.insert(3, _agreement(ours, paper.iloc[0]))
    table = pd.concat([*above, rows], ignore_index=True)
    reading = table.pop("reading")
    trusted = reading.notna() & (reading != "doubtful")
    rule = table["PC459_rule"].str.extract("^(old|new)")[0]
    best = best_cells(table, len(_ABOUT), pd.Series(1, table.index).where(trusted))
    best["PC459"] = best_cells(table, len(_ABOUT), rule.where(trusted))["PC459"]
    marks = "".join(f"{mark.strip()}: {reading}. " for reading, mark in _MARKS.items())
    table.columns = pd.Index([*_ABOUT.values(), *_COLUMNS])
    best.columns = table.columns
    return Table(
        title=title,
        cells=table,
        words=len(_ABOUT),
        note=f"In %; the best published value of each column in bold, on PC459 for each rule. "
        f"{remark} {marks}The PC459 rule of a published row is `miou_d2_v06` where it says old and "
        "`miou` where it says new; only numbers of the same rule are comparable. "
        f"{_BOTH_RULES}. Sources, and how each was read: "
        "`scan_core/reporting/published_numbers.csv`.",
        best=best,
    )


def scored_table(results: pd.DataFrame) -> Table | None:
    """A method on one benchmark, by both rules of the mIoU, among the published ones.

    Args:
        results: see `load_evaluations`.

    Returns:
        the table, the best first, or None where no number of the benchmark is published.
    """
    ours = _combined(results).iloc[0]
    benchmark = ours["benchmark"]
    if benchmark not in PAPER_BENCHMARKS:
        return None
    column = PAPER_BENCHMARKS[benchmark]
    own = [(f"**{ours['recipe']}**", MISSING, rule, 100 * ours[rule]) for rule in _RULES]
    published = load_published().dropna(subset=column)
    if column != "PC459":
        published["PC459_rule"] = MISSING
    rows = pd.concat(
        [
            pd.DataFrame(own, columns=["method", "vl_model", "PC459_rule", column]),
            published[["method", "vl_model", "PC459_rule", column]],
        ]
    ).sort_values(column, ascending=False, kind="stable")
    rows[column] = rows[column].map(rounded, decimals=1)
    rows.columns = pd.Index(["method", "vision-language model", "rule", column])
    return Table(
        title=f"{ours['recipe']} beside published mIoU on {benchmark}",
        cells=rows,
        words=3,
        note=f"In %, {ours['images']} images. {_BOTH_RULES}. The two differ where a class has no "
        "ground truth.",
    )


def _combined(results: pd.DataFrame, external: bool = False) -> pd.DataFrame:
    chosen = results["classifier"] == "combined"
    return results[chosen if external else chosen & ~results["external"]]


def _by_rule(scored: pd.DataFrame, name: str, architecture: str) -> pd.DataFrame:
    """A method's row for each of the two rules."""
    values = scored.set_index(scored["benchmark"].astype(str))[list(_RULES)]
    cells = percent(values.reindex(list(PAPER_BENCHMARKS)).T)
    cells.columns = pd.Index(_COLUMNS)
    about = [name, MISSING, architecture, MISSING, MISSING]
    cells[list(_ABOUT)[:-1]] = about
    return cells.rename_axis("PC459_rule").reset_index()[[*_ABOUT, *_COLUMNS]]


def _difference(ours: pd.DataFrame, paper: "pd.Series[Any]") -> pd.DataFrame:
    """Percentage points between our results, by the paper's rule, and the paper's."""
    points = _points(ours, paper)
    # Adding zero makes a rounded −0 positive.
    cells = {
        c: MISSING if np.isnan(v) else f"{round(v, 2) + 0.0:+.2f}".replace("-", _MINUS)
        for c, v in points.items()
    }
    about = dict.fromkeys(_ABOUT, MISSING)
    about |= {"method": f"ours − {paper['method']}", "PC459_rule": _RULES[0]}
    return pd.DataFrame([about | cells])


def _agreement(ours: pd.DataFrame, paper: "pd.Series[Any]") -> pd.DataFrame:
    """Whether our results, by the paper's rule, are within 0.1 points of the paper's."""
    cells = {
        c: MISSING if np.isnan(v) else "yes" if abs(v) < _ROUNDED + 1e-9 else "no"
        for c, v in _points(ours, paper).items()
    }
    about = dict.fromkeys(_ABOUT, MISSING)
    about |= {"method": f"within {_ROUNDED:g} of {paper['method']}", "PC459_rule": _RULES[0]}
    return pd.DataFrame([about | cells])


_ROUNDED = 0.1


def _points(ours: pd.DataFrame, paper: "pd.Series[Any]") -> dict[str, float]:
    """Column -> percentage points between our result, by the paper's rule, and the paper's."""
    values = 100 * ours.set_index(ours["benchmark"].astype(str))[_RULES[0]]
    return {c: values.get(b, np.nan) - paper[c] for b, c in PAPER_BENCHMARKS.items()}


def _about_external(results: pd.DataFrame, benchmarks: Sequence[str]) -> str:
    """What a reader must know of the rows of external methods."""
    external = results[results["external"]]
    if external.empty:
        return ""
    lacking = [
        f"{recipe} has none for {', '.join(without)}"
        for recipe, of in external.groupby("recipe", sort=False)
        if (without := [name for name in benchmarks if name not in set(of["benchmark"])])
    ]
    return " " + "; ".join(["Given predictions are another model's, scored here", *lacking]) + "."
