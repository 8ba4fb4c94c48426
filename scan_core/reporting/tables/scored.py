"""One method on one benchmark, beside the published numbers."""

import math

from scan_core.params.metric_names import METRICS
from scan_core.reporting.published import PAPER_BENCHMARKS, load_published
from scan_core.reporting.results import Evaluation
from scan_core.reporting.tables.table_text import MISSING, Table, number

_RULES = ("miou_d2_v06", "miou")


def scored_table(evaluation: Evaluation) -> Table | None:
    """The method by both rules of the mIoU among the published ones, the best first.

    Args:
        evaluation: of the method, on one benchmark.

    Returns:
        the table, or None where no number of the benchmark is published.
    """
    benchmark = evaluation.benchmark
    if benchmark not in PAPER_BENCHMARKS:
        return None
    rows = [
        (100 * evaluation.results["combined"][rule], f"**{evaluation.recipe}**", MISSING, rule)
        for rule in _RULES
    ]
    for result in load_published():
        rule = result.context_459_rule if benchmark == "context_459" else MISSING
        if not math.isnan(result.miou[benchmark]):
            rows.append((result.miou[benchmark], result.method, result.vl_model, rule))
    rows.sort(key=lambda row: -row[0])
    return Table(
        title=f"{evaluation.recipe} beside published mIoU on {benchmark}",
        header=("method", "vision-language model", "rule", PAPER_BENCHMARKS[benchmark]),
        rows=tuple((name, model, rule, number(value, 1)) for value, name, model, rule in rows),
        text_columns=3,
        note=f"Per cent, {evaluation.images} images. "
        f"`miou_d2_v06`: {METRICS['miou_d2_v06'].description}; "
        f"`miou`: {METRICS['miou'].description}. "
        "The two differ where a class has no ground truth.",
    )
