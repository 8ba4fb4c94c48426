"""Tables of one model's results: every benchmark, every way to classify, every metric."""

import json
import math
from collections.abc import Iterable, Sequence

from scan_core.params.classifiers import CLASSIFIERS
from scan_core.params.metric_names import METRICS
from scan_core.reporting.names import metric_name
from scan_core.reporting.results import Evaluation, GivenMethod
from scan_core.reporting.tables.table_text import Table, best_cells, per_cent

# The two rules for the mean, the paper's first.
RULES = ("miou_d2_v06", "miou")
BOTH_RULES = "; ".join(f"`{rule}`: {METRICS[rule].description}" for rule in RULES)
_EXPLAINED = "; ".join(
    f"{metric.name} (`{key}`): {metric.description}" for key, metric in METRICS.items()
)
_COMBINED = ("miou", "miou_d2_v06", "sg_iou", "miou_seen", "miou_unseen")


def main_table(evaluations: Sequence[Evaluation], given: Sequence[GivenMethod] = ()) -> Table:
    """A row for each way of classifying and each given method, a column for each benchmark.

    One for which the two rules for the mean differ has a row for each of them.

    Args:
        evaluations: of one model, at least one.
        given: predictions of other models.
    """
    ours = {e.benchmark: e for e in evaluations}
    modes = [mode for mode in CLASSIFIERS if any(mode in e.results for e in evaluations)]
    # What a row is called -> its results, and the way to classify that is meant.
    sources = {CLASSIFIERS[mode]: (ours, mode) for mode in modes}
    sources |= {method.label: (method.evaluations, "combined") for method in given}
    values = {
        (rule, name): tuple(per_cent(metric_of(of.get(b), mode, rule)) for b in ours)
        for rule in RULES
        for name, (of, mode) in sources.items()
    }
    differing = [name for name in sources if values[RULES[0], name] != values[RULES[1], name]]
    groups = {
        rule: group for rule, group in zip(RULES, (differing, [*sources]), strict=True) if group
    }
    words = ("classified by", "rule") if differing else ("classified by",)
    rows: list[tuple[str, ...]] = []
    best: frozenset[tuple[int, int]] = frozenset()
    columns = range(len(words), len(words) + len(evaluations))
    for rule, group in groups.items():
        first = len(rows)
        about = (rule,) if differing else ()
        rows += [(name, *about, *values[rule, name]) for name in group]
        best |= best_cells(rows, columns, range(first, len(rows)))
    model = evaluations[0]
    about_rules = (
        f"{BOTH_RULES}; where a row of only one rule is there, both give the same values"
        if differing
        else f"mIoU: {METRICS['miou'].description}; `miou_d2_v06`, the rule of the paper, gives "
        "the same values"
    )
    return Table(
        title=f"Mean IoU of {model.recipe} ({model.variant})",
        header=(*words, *(e.benchmark for e in evaluations)),
        rows=tuple(rows),
        text_columns=len(words),
        note=f"In %. {about_rules}. Chance: the same proposals, each with a random class."
        f"{_about_given(given, ours)}",
        best=best,
    )


def _about_given(given: Sequence[GivenMethod], benchmarks: Iterable[str]) -> str:
    """What a reader must know of the rows of given methods."""
    if not given:
        return ""
    lacking = {method.name: method.without(benchmarks) for method in given}
    without = [f"{name} has none for {', '.join(of)}" for name, of in lacking.items() if of]
    return " " + "; ".join(["Given predictions are another model's, scored here", *without]) + "."


def detail_table(evaluations: Sequence[Evaluation], given: Sequence[GivenMethod] = ()) -> Table:
    """A row for each benchmark and way of classifying or given method, a column for each metric.

    Args:
        evaluations: of one model, at least one.
        given: predictions of other models.
    """
    model = evaluations[0]
    rows: list[tuple[str, ...]] = []
    best: frozenset[tuple[int, int]] = frozenset()
    for e in evaluations:
        modes = [mode for mode in CLASSIFIERS if mode in e.results]
        first = len(rows)
        named = [(CLASSIFIERS[mode], e, mode) for mode in modes]
        named += [
            (method.label, method.evaluations[e.benchmark], "combined")
            for method in given
            if e.benchmark in method.evaluations
        ]
        for name, of, mode in named:
            values = (per_cent(of.results[mode][metric]) for metric in METRICS)
            rows.append((of.benchmark, name, str(of.class_count), str(of.images), *values))
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
