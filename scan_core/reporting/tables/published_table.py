"""The published results, and above them ours."""

from collections.abc import Mapping, Sequence

from scan_core.reporting.published import (
    DOUBTFUL,
    MARKS,
    PAPER_BENCHMARKS,
    PublishedResult,
    load_published,
    paper_result,
)
from scan_core.reporting.results import Evaluation, GivenMethod
from scan_core.reporting.tables.result_tables import BOTH_RULES, RULES, metric_of
from scan_core.reporting.tables.table_text import MISSING, Table, best_cells, difference, number

_WORDS = 6  # columns of text


def published_table(
    evaluations: Sequence[Evaluation], architecture: str, given: Sequence[GivenMethod] = ()
) -> Table:
    """The published rows; above them ours, if it was evaluated on a benchmark of the paper.

    Below ours stand given predictions, likewise.

    Our difference to the paper is by the paper's rule, `miou_d2_v06`, on every benchmark. The best
    published value of each column is marked, on PC-459 that of each rule; doubtful ones are not
    among them.

    Args:
        evaluations: of one model, at least one.
        architecture: of its CLIP; without a model of the paper there is no difference.
        given: predictions of other models.
    """
    published = load_published()
    ours = {e.benchmark: e for e in evaluations if e.benchmark in PAPER_BENCHMARKS}
    recipe = evaluations[0].recipe
    above: list[tuple[str, ...]] = []
    if ours:
        above = _our_rows(ours, recipe, architecture, paper_result(architecture, published))
        title = f"{recipe} and published mIoU"
        images = ", ".join(f"{PAPER_BENCHMARKS[b]} {e.images}" for b, e in ours.items())
        remark = f"Ours: in-vocabulary and CLIP combined; images: {images}. "
    else:
        title = "Published mIoU on the real benchmarks"
        remark = (
            f"The recipe {recipe} was not evaluated on any of these benchmarks: its own numbers "
            "are not comparable to these. "
        )
    for method in given:
        scored = {b: e for b, e in method.evaluations.items() if b in PAPER_BENCHMARKS}
        above += _rows_by_rule(scored, method.label, MISSING) if scored else []
    rows = [*above, *map(_published_row, published)]
    return Table(
        title=title,
        header=(
            *("method", "venue", "vision-language model", "backbone or proposals"),
            *("training data", "PC459 rule", *PAPER_BENCHMARKS.values()),
        ),
        rows=tuple(rows),
        text_columns=_WORDS,
        note=f"In %; the best published value of each column in bold, on PC459 for each rule. "
        f"{remark}{_marks(published)}The PC459 rule of a published row is `miou_d2_v06` where it "
        "says old and `miou` where it says new; only numbers of the same rule are comparable. "
        f"{BOTH_RULES}. Sources, and how each was read: "
        "`scan_core/reporting/published_numbers.csv`.",
        best=_best(rows, published, len(above)),
    )


def _best(
    rows: Sequence[Sequence[str]], published: Sequence[PublishedResult], first: int
) -> frozenset[tuple[int, int]]:
    trusted = {first + n: r for n, r in enumerate(published) if r.reading != DOUBTFUL}
    columns = dict(zip(PAPER_BENCHMARKS, range(_WORDS, len(rows[0])), strict=True))
    by_rule = columns.pop("context_459")
    best = best_cells(rows, columns.values(), trusted)
    for rule in ("old", "new"):
        same = [row for row, result in trusted.items() if result.context_459_rule.startswith(rule)]
        best |= best_cells(rows, [by_rule], same)
    return best


def _marks(published: Sequence[PublishedResult]) -> str:
    used = {result.reading for result in published}
    return "".join(f"{mark}: {reading}. " for reading, mark in MARKS.items() if reading in used)


def _our_rows(
    ours: Mapping[str, Evaluation], recipe: str, architecture: str, paper: PublishedResult | None
) -> list[tuple[str, ...]]:
    rows = _rows_by_rule(ours, f"ours ({recipe})", architecture)
    if paper is not None:
        rows.append(_published_row(paper))
        values = _per_benchmark(ours, RULES[0])
        change = [difference(v - paper.miou[b]) for b, v in values.items()]
        rows.append((f"ours − {paper.method}", *[MISSING] * 4, RULES[0], *change))
    return rows


def _rows_by_rule(
    scored: Mapping[str, Evaluation], name: str, architecture: str
) -> list[tuple[str, ...]]:
    """A method's row for each of the two rules."""
    rows = []
    for rule in RULES:
        cells = [number(value) for value in _per_benchmark(scored, rule).values()]
        rows.append((name, MISSING, architecture, MISSING, MISSING, rule, *cells))
    return rows


def _per_benchmark(scored: Mapping[str, Evaluation], rule: str) -> dict[str, float]:
    return {b: 100 * metric_of(scored.get(b), "combined", rule) for b in PAPER_BENCHMARKS}


def _published_row(result: PublishedResult) -> tuple[str, ...]:
    mark = MARKS.get(result.reading, "")
    return (
        f"{result.method} {mark}".strip(),
        result.venue,
        result.vl_model,
        result.backbone,
        result.train_data,
        result.context_459_rule,
        *(number(result.miou[benchmark], 1) for benchmark in PAPER_BENCHMARKS),
    )
