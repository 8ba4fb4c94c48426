"""Our results beside published ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scan_core.params.classifiers import CLASSIFIERS
from scan_core.reporting.tables import (
    BOTH_RULES,
    MINUS,
    MISSING,
    RULES,
    Table,
    best_cells,
    combined,
    percent,
    rounded,
)

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
_ROUNDED = 0.1  # points to which published numbers are rounded
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
    whole = combined(results, external=True)
    whole = whole[whole["benchmark"].isin(list(PAPER_BENCHMARKS))]
    recipe = results["recipe"].iloc[0]
    above = [
        _by_rule(of, f"ours ({recipe})", architecture)
        if name == CLASSIFIERS["combined"]
        else _by_rule(of, str(name), MISSING)
        for name, of in whole.groupby("name", observed=True)
    ]
    ours = whole[~whole["external"]]
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
            theirs = rows.loc[paper.index].drop(columns="reading")
            above[1:1] = [theirs, *_compared(ours, paper.iloc[0])]
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
        f"{BOTH_RULES}. Sources, and how each was read: "
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
    ours = combined(results).iloc[0]
    benchmark = ours["benchmark"]
    if benchmark not in PAPER_BENCHMARKS:
        return None
    column = PAPER_BENCHMARKS[benchmark]
    columns = ["method", "vl_model", "PC459_rule", column]
    own = [(f"**{ours['recipe']}**", MISSING, rule, 100 * ours[rule]) for rule in RULES]
    published = load_published().dropna(subset=column)
    if column != "PC459":
        published["PC459_rule"] = MISSING
    rows = pd.concat([pd.DataFrame(own, columns=columns), published[columns]])
    rows = rows.sort_values(column, ascending=False, kind="stable")
    rows[column] = rows[column].map(rounded, decimals=1)
    rows.columns = pd.Index(["method", "vision-language model", "rule", column])
    return Table(
        title=f"{ours['recipe']} beside published mIoU on {benchmark}",
        cells=rows,
        words=3,
        note=f"In %, {ours['images']} images. {BOTH_RULES}. The two differ where a class has no "
        "ground truth.",
    )


def _by_rule(scored: pd.DataFrame, name: str, architecture: str) -> pd.DataFrame:
    """A method's row for each of the two rules."""
    values = scored.set_index(scored["benchmark"].astype(str))[list(RULES)]
    cells = percent(values.reindex(list(PAPER_BENCHMARKS)).T)
    cells.columns = pd.Index(_COLUMNS)
    about = [name, MISSING, architecture, MISSING, MISSING]
    cells[list(_ABOUT)[:-1]] = about
    return cells.rename_axis("PC459_rule").reset_index()[[*_ABOUT, *_COLUMNS]]


def _compared(ours: pd.DataFrame, paper: "pd.Series[Any]") -> list[pd.DataFrame]:
    """Percentage points between our results, by the paper's rule, and the paper's.

    With weights from a file also whether they agree.
    """
    values = 100 * ours.set_index(ours["benchmark"].astype(str))[RULES[0]]
    points = pd.Series({c: values.get(b, np.nan) - paper[c] for b, c in PAPER_BENCHMARKS.items()})
    # Adding zero makes a rounded −0 positive.
    signed = points.map(lambda v: f"{round(v, 2) + 0.0:+.2f}".replace("-", MINUS))
    within = points.abs().lt(_ROUNDED + 1e-9).map({True: "yes", False: "no"})
    rows = {
        f"ours − {paper['method']}": signed,
        f"within {_ROUNDED:g} of {paper['method']}": within,
    }
    about = dict.fromkeys(_ABOUT, MISSING) | {"PC459_rule": RULES[0]}
    return [
        pd.DataFrame([about | {"method": method} | cells.mask(points.isna(), MISSING).to_dict()])
        for method, cells in rows.items()
    ][: 2 if ours["imported"].any() else 1]
