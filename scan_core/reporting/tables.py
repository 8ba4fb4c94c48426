"""Tables of one model's results, also beside published ones, as CSV, Markdown, LaTeX and HTML."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from scan_core.params.metric_names import METRICS
from scan_core.reporting.results import excludes_zero
from scan_core.storage.files import write_text

_DENSE = 7  # columns from which on a page makes a table small
MISSING = "–"
_PARTS = {"clip_only": "CLIP alone", "in_vocabulary": "in-vocabulary alone"}
MINUS = "−"
# The two rules for the mean, the paper's first.
RULES = ("miou_d2_v06", "miou")
BOTH_RULES = "; ".join(f"`{rule}`: {METRICS[rule].description}" for rule in RULES)
# What pdfLaTeX has no letter for.
_LATEX = str.maketrans(
    {MINUS: "$-$", "±": r"$\pm$", "≤": r"$\leq$", "σ": r"$\sigma$", "◂": r"$\triangleleft$"}
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
        plain = self.cells.replace(MINUS, "-", regex=True)
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
        text = (
            self._styler("latex")
            .to_latex(
                column_format="l" * self.words + "r" * (self.cells.shape[1] - self.words),
                caption=caption.strip(),
                position_float="centering",
                hrules=True,
                convert_css=True,
            )
            .translate(_LATEX)
        )
        box = "\\begin{adjustbox}{max width=\\linewidth}\n\\begin{tabular}"
        text = text.replace("\\begin{tabular}", box)
        return text.replace("\\end{tabular}", "\\end{tabular}\n\\end{adjustbox}")

    def html(self) -> str:
        """The table and its note."""
        name = re.sub(r"\W+", "_", self.title)
        right = [{"selector": "", "props": "text-align: right"}]
        numbers: Any = dict.fromkeys(self.cells.columns[self.words :], right)
        table = self._styler("html").set_table_styles(numbers).set_uuid(name).to_html()
        note = re.sub("`(.*?)`", r"<code>\1</code>", escape(self.note))
        dense = " dense" if self.cells.shape[1] >= _DENSE else ""
        return f'<div class="table{dense}">{table}</div>\n' + (f"<p>{note}</p>\n" if note else "")

    def with_note(self, note: str) -> "Table":
        """With another sentence below it."""
        return replace(self, note=f"{self.note} {note}".strip())

    def _styler(self, escape: Literal["html", "latex"]) -> "pd.io.formats.style.Styler":
        styler = self.cells.reset_index(drop=True).style.hide(axis="index").format(escape=escape)
        styler.format_index(escape=escape, axis="columns")
        if self.best is None:
            return styler
        bold = np.where(self.best, "font-weight: bold;", "")
        return styler.apply(lambda _: bold, axis=None)


def render(template: str, **values: Any) -> str:
    """A template of this folder, filled in; in a page, what is no HTML is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(["html.jinja"]),
        undefined=StrictUndefined,
    )
    return environment.get_template(template).render(**values)


def write_tables(tables: Sequence[Table], folder: Path, stem: str) -> None:
    """Write tables, one below the other, as `<stem>.md`, `<stem>.tex` and `<stem>.html`."""
    write_text(folder / f"{stem}.md", "\n".join(table.markdown() for table in tables))
    write_text(folder / f"{stem}.tex", "\n".join(table.latex() for table in tables))
    write_text(folder / f"{stem}.html", render("page.html.jinja", tables=tables))


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


def with_intervals(frame: pd.DataFrame, metric: str) -> list[str]:
    """A column of fractions in %, each with its interval."""
    numbers = frame[[metric, f"{metric}_low", f"{metric}_high"]].to_numpy(float)
    return [with_interval(value, bounds) for value, *bounds in numbers]


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
    texts, numbers = {}, {}
    for rule in RULES:
        stars = excludes_zero(results[f"{rule}_gain_low"], results[f"{rule}_gain_high"])
        shown = np.char.add(with_intervals(results, rule), np.where(stars, "*", ""))
        cells = results.assign(text=shown).pivot(index="name", columns="benchmark", values="text")
        texts[rule] = cells.fillna(MISSING)
        numbers[rule] = percent(results.pivot(index="name", columns="benchmark", values=rule))
    paper, modern = RULES
    differ = (numbers[paper] != numbers[modern]).any(axis=1)
    ours = list(results.loc[~results["external"], "benchmark"].unique())
    blocks = {paper: texts[paper][differ], modern: texts[modern]}
    table = pd.concat(blocks, names=["rule", "classified by"])[ours].reset_index()
    groups = table.pop("rule")
    words = 1
    miou = METRICS["miou"].description
    about = f"mIoU: {miou}; `miou_d2_v06`, the rule of the paper, gives the same values"
    if differ.any():
        table.insert(1, "rule", groups)
        words = 2
        about = f"{BOTH_RULES}; a row of only one rule: both give the same values"
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
        f"{one:+.1f} [{lower:+.1f}, {upper:+.1f}]".replace("-", MINUS)
        for one, lower, upper in zip(gain, low, high, strict=True)
    ]
    cases = {"yes": low > 0, "no, worse": high < 0, "the same": (low == 0) & (high == 0)}
    table = pd.DataFrame(
        {
            "benchmark": parts["benchmark"].astype(str),
            "than": parts["classifier"].map(_PARTS),
            "combined is better": np.select([*cases.values()], [*cases], "cannot be told"),
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


def detail_table(results: pd.DataFrame) -> Table:
    """A row for each benchmark and classifier or external method, a column for each metric.

    Args:
        results: see `load_evaluations`.
    """
    about = results[["benchmark", "name", "class_count", "images"]].astype(str)
    table = about.join(percent(results[list(METRICS)]))
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
    ours = combined(results)
    numbers = [f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")]
    cells = ours[["benchmark"]].astype(str).join(percent(ours[numbers]))
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


def combined(results: pd.DataFrame, external: bool = False) -> pd.DataFrame:
    """The rows of the whole model; `external`: also those of given predictions."""
    chosen = results["classifier"] == "combined"
    return results[chosen if external else chosen & ~results["external"]]
