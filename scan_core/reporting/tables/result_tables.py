"""Tables of one model's results: every benchmark, every way to classify, every metric."""

import json
import math
from collections.abc import Sequence

from scan_core.evaluation.names import METRICS, MODES
from scan_core.reporting.names import metric_name
from scan_core.reporting.results import Evaluation
from scan_core.reporting.tables.table_text import Table, best_cells, per_cent

# The two rules for the mean, the paper's first.
RULES = ("miou_d2_v06", "miou")
BOTH_RULES = f"`miou_d2_v06`: {METRICS['miou_d2_v06']}; `miou`: {METRICS['miou']}"
_EXPLAINED = "; ".join(
    f"{metric_name(name)} (`{name}`): {meaning}" for name, meaning in METRICS.items()
)
_COMBINED = ("miou", "miou_d2_v06", "sg_iou", "miou_seen", "miou_unseen")


def main_table(evaluations: Sequence[Evaluation]) -> Table:
    """A row for each way of classifying, a column for each benchmark.

    Where the two rules for the mean differ, there is a row for each of them.

    Args:
        evaluations: of one model, at least one.
    """
    modes = [mode for mode in MODES if any(mode in e.results for e in evaluations)]
    by_rule = {
        rule: [tuple(per_cent(metric_of(e, mode, rule)) for e in evaluations) for mode in modes]
        for rule in RULES
    }
    rules = RULES if by_rule[RULES[0]] != by_rule[RULES[1]] else ("miou",)
    words = ("classified by", "rule") if len(rules) > 1 else ("classified by",)
    rows = tuple(
        ((MODES[mode], rule) if len(rules) > 1 else (MODES[mode],)) + cells
        for rule in rules
        for mode, cells in zip(modes, by_rule[rule], strict=True)
    )
    best: frozenset[tuple[int, int]] = frozenset()
    columns = range(len(words), len(words) + len(evaluations))
    for number in range(len(rules)):
        best |= best_cells(rows, columns, range(number * len(modes), (number + 1) * len(modes)))
    model = evaluations[0]
    about_rules = (
        BOTH_RULES
        if len(rules) > 1
        else f"mIoU: {METRICS['miou']}; `miou_d2_v06`, the rule of the paper, gives the same values"
    )
    return Table(
        title=f"Mean IoU of {model.recipe} ({model.variant})",
        header=(*words, *(e.benchmark for e in evaluations)),
        rows=rows,
        text_columns=len(words),
        note=f"In %. {about_rules}. Chance assigns a random class to every proposal.",
        best=best,
    )


def detail_table(evaluations: Sequence[Evaluation]) -> Table:
    """A row for each benchmark and way of classifying, a column for each metric.

    Args:
        evaluations: of one model, at least one.
    """
    model = evaluations[0]
    rows: list[tuple[str, ...]] = []
    best: frozenset[tuple[int, int]] = frozenset()
    for e in evaluations:
        modes = [mode for mode in MODES if mode in e.results]
        first = len(rows)
        for mode in modes:
            values = (per_cent(e.results[mode][metric]) for metric in METRICS)
            rows.append((e.benchmark, MODES[mode], str(e.class_count), str(e.images), *values))
        best |= best_cells(rows, range(4, 4 + len(METRICS)), range(first, len(rows)))
    return Table(
        title=f"All metrics of {model.recipe} ({model.variant})",
        header=("benchmark", "classified by", "classes", "images", *map(metric_name, METRICS)),
        rows=tuple(rows),
        text_columns=2,
        note=f"In %; the best value of each benchmark in bold. {_EXPLAINED}.",
        best=best,
    )


def combined_values(evaluations: Sequence[Evaluation]) -> Table:
    """Both classifiers combined: a row for each benchmark, a column for each metric, in %.

    Args:
        evaluations: of one model, at least one.
    """
    return Table(
        title="Both classifiers combined",
        header=("benchmark", *METRICS),
        rows=tuple(
            (e.benchmark, *(per_cent(metric_of(e, "combined", metric)) for metric in METRICS))
            for e in evaluations
        ),
        text_columns=1,
    )


def benchmark_metrics(evaluation: Evaluation) -> str:
    """The metrics of one benchmark as JSON, in %, few enough for one line of a terminal.

    Those of both classifiers combined have their own names; of each classifier alone there is
    `miou`. Metrics that do not exist are left out.

    Args:
        evaluation: of the model.
    """
    values = {name: metric_of(evaluation, "combined", name) for name in _COMBINED}
    values |= {
        f"{mode}_miou": metric_of(evaluation, mode, "miou")
        for mode in ("in_vocabulary", "clip_only")
    }
    known = {name: round(100 * v, 4) for name, v in values.items() if not math.isnan(v)}
    return json.dumps(known, indent=1) + "\n"


def metric_of(evaluation: Evaluation | None, mode: str, metric: str) -> float:
    """A metric as a fraction; NaN where there is none."""
    if evaluation is None or mode not in evaluation.results:
        return math.nan
    return evaluation.results[mode][metric]
