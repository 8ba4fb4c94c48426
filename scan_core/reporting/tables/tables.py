"""The tables of a recipe: its benchmarks, beside the published numbers, and its grids."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from scan_core.errors import InputError
from scan_core.evaluation.names import METRICS, MODES
from scan_core.reporting.published import (
    PAPER_BENCHMARKS,
    PublishedResult,
    load_published,
    paper_result,
)
from scan_core.reporting.results import Evaluation
from scan_core.reporting.tables.grids import Estimate, Grid, estimate, shown
from scan_core.reporting.tables.table_text import (
    MISSING,
    Table,
    difference,
    html_page,
    number,
    per_cent,
)
from scan_core.storage.atomic import write_text

_RULES = ("miou_d2_v06", "miou")
# Each gets a table of its own; the other metrics stand in the CSV.
_GRID_METRICS = tuple(METRICS)[: list(METRICS).index("fwiou")]
_EXPLAINED = "; ".join(f"`{name}`: {meaning}" for name, meaning in METRICS.items())
_BOTH_RULES = f"`miou_d2_v06`: {METRICS['miou_d2_v06']}; `miou`: {METRICS['miou']}"


def write_tables(
    evaluations: Sequence[Evaluation],
    grids: Sequence[Grid],
    recipe: str,
    architecture: str,
    output_folder: Path,
) -> None:
    """Write `main`, `details`, `published` (CSV, Markdown, LaTeX, HTML) and `ablation_<grid>`.

    `combined.csv`, for programs that draw, has a row for each benchmark.

    Args:
        evaluations: of one model, at least one.
        grids: of the same recipe.
        recipe: its name.
        architecture: of its CLIP, such as `ViT-L-14`; it selects the paper's row.
        output_folder: where to write, each file atomically.

    Raises:
        InputError: an evaluation of another recipe, or a grid that is there twice.
    """
    for evaluation in evaluations:
        if evaluation.recipe != recipe:
            raise InputError(
                f"{evaluation.file} is of the recipe '{evaluation.recipe}', expected '{recipe}'; "
                "evaluate that recipe, or name the other"
            )
    names = [grid.name for grid in grids]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"the grid '{repeated}' is given twice; give each grid's file once")
    tables = {
        "main": main_table(evaluations),
        "details": detail_table(evaluations),
        "published": published_table(evaluations, architecture),
    }
    for name, table in tables.items():
        write_text(output_folder / f"{name}.csv", table.csv())
        write_text(output_folder / f"{name}.md", table.markdown())
        write_text(output_folder / f"{name}.tex", table.latex())
        write_text(output_folder / f"{name}.html", html_page([table]))
    write_text(output_folder / "combined.csv", combined_values(evaluations).csv())
    for grid in grids:
        stem = f"ablation_{grid.name}"
        write_text(output_folder / f"{stem}.csv", grid_values(grid).csv())
        shown = grid_tables(grid)
        text = "\n".join(table.markdown() for table in shown)
        write_text(output_folder / f"{stem}.md", text)
        write_text(output_folder / f"{stem}.html", html_page(shown))


def main_table(evaluations: Sequence[Evaluation]) -> Table:
    """A row for each rule and way of classifying, a column for each benchmark.

    Args:
        evaluations: of one model, at least one.
    """
    modes = [mode for mode in MODES if any(mode in e.results for e in evaluations)]
    model = evaluations[0]
    return Table(
        title=f"Mean IoU of {model.recipe} ({model.variant})",
        header=("classified by", "rule", *(e.benchmark for e in evaluations)),
        rows=tuple(
            (MODES[mode], rule, *(per_cent(_metric(e, mode, rule)) for e in evaluations))
            for rule in _RULES
            for mode in modes
        ),
        text_columns=2,
        note=f"Per cent. {_BOTH_RULES}. Chance gives every proposal a random class.",
    )


def detail_table(evaluations: Sequence[Evaluation]) -> Table:
    """A row for each benchmark and way of classifying, a column for each metric.

    Args:
        evaluations: of one model, at least one.
    """
    model = evaluations[0]
    return Table(
        title=f"All metrics of {model.recipe} ({model.variant})",
        header=("benchmark", "classified by", "classes", "images", *METRICS),
        rows=tuple(
            (
                e.benchmark,
                MODES[mode],
                str(e.class_count),
                str(e.images),
                *(per_cent(e.results[mode][metric]) for metric in METRICS),
            )
            for e in evaluations
            for mode in MODES
            if mode in e.results
        ),
        text_columns=2,
        note=f"Per cent. {_EXPLAINED}.",
    )


def combined_values(evaluations: Sequence[Evaluation]) -> Table:
    """Both classifiers combined: a row for each benchmark, a column for each metric, per cent.

    Args:
        evaluations: of one model, at least one.
    """
    return Table(
        title="Both classifiers combined",
        header=("benchmark", *METRICS),
        rows=tuple(
            (e.benchmark, *(per_cent(_metric(e, "combined", metric)) for metric in METRICS))
            for e in evaluations
        ),
        text_columns=1,
    )


def published_table(evaluations: Sequence[Evaluation], architecture: str) -> Table:
    """The published rows; above them ours, if it was evaluated on a benchmark of the paper.

    Our difference to the paper is by the paper's rule, `miou_d2_v06`, on every benchmark.

    Args:
        evaluations: of one model, at least one.
        architecture: of its CLIP; without a model of the paper there is no difference.
    """
    published = load_published()
    ours = {e.benchmark: e for e in evaluations if e.benchmark in PAPER_BENCHMARKS}
    recipe = evaluations[0].recipe
    rows = [_published_row(result) for result in published]
    if ours:
        rows = _our_rows(ours, recipe, architecture, paper_result(architecture, published)) + rows
        title = f"{recipe} beside published mIoU"
        images = ", ".join(f"{PAPER_BENCHMARKS[b]} {e.images}" for b, e in ours.items())
        remark = f"Ours: in-vocabulary and CLIP combined; images: {images}. "
    else:
        title = "Published mIoU on the real benchmarks"
        remark = (
            f"None of these benchmarks was evaluated with the recipe {recipe}: its own numbers "
            "are not comparable to these. "
        )
    return Table(
        title=title,
        header=(
            *("method", "venue", "vision-language model", "backbone or proposals"),
            *("training data", "PC459 rule", *PAPER_BENCHMARKS.values()),
        ),
        rows=tuple(rows),
        text_columns=6,
        note=f"Per cent. {remark}The PC459 rule of a published row is `miou_d2_v06` where it is "
        "old and `miou` where it is new; only numbers of the same rule compare. "
        f"{_BOTH_RULES}. Sources: `scan_core/reporting/published_numbers.csv`.",
    )


def grid_values(grid: Grid) -> Table:
    """Every number of a grid: a row for each cell, benchmark and metric.

    Args:
        grid: the grid.
    """
    rows = []
    for cell in grid.cells:
        for benchmark in grid.benchmarks:
            for metric in METRICS:
                value = estimate(grid.by_seed(cell, benchmark, metric).values())
                numbers = (per_cent(value.mean), per_cent(value.error), str(value.number))
                rows.append((*map(shown, cell), benchmark, metric, *numbers))
    return Table(
        title=f"Grid {grid.name}",
        header=(*grid.keys, "benchmark", "metric", "mean", "standard_error", "seeds"),
        rows=tuple(rows),
        text_columns=len(grid.keys) + 2,
    )


def grid_tables(grid: Grid) -> list[Table]:
    """For each kind of mIoU that exists a table of cells and benchmarks, over the seeds.

    Args:
        grid: the grid.
    """
    tables = []
    for metric in _GRID_METRICS:
        cells = {
            (cell, benchmark): estimate(grid.by_seed(cell, benchmark, metric).values())
            for cell in grid.cells
            for benchmark in grid.benchmarks
        }
        if not any(value.number for value in cells.values()):
            continue
        rows = []
        for cell in grid.cells:
            values = [cells[cell, benchmark] for benchmark in grid.benchmarks]
            numbers = sorted({value.number for value in values if value.number})
            seeds = MISSING.join(str(n) for n in dict.fromkeys((*numbers[:1], *numbers[-1:])))
            rows.append(
                (*map(shown, cell), seeds or "0", *(_with_error(value) for value in values))
            )
        tables.append(
            Table(
                title=f"Grid {grid.name}: {metric}",
                header=(*(f"`{key}`" for key in grid.keys), "seeds", *grid.benchmarks),
                rows=tuple(rows),
                text_columns=len(grid.keys),
                note=f"Per cent; mean ± standard error over the seeds. "
                f"`{metric}`: {METRICS[metric]}.",
            )
        )
    return tables


def metrics_json(evaluations: Sequence[Evaluation]) -> str:
    """All metrics as fractions, flat: `{"<benchmark>.<mode>.<metric>": number}`.

    Metrics that do not exist are left out.

    Args:
        evaluations: of one model.
    """
    flat = {
        f"{e.benchmark}.{mode}.{name}": value
        for e in evaluations
        for mode, metrics in e.results.items()
        for name, value in metrics.items()
        if not math.isnan(value)
    }
    return json.dumps(flat, indent=1, sort_keys=True) + "\n"


def _our_rows(
    ours: Mapping[str, Evaluation], recipe: str, architecture: str, paper: PublishedResult | None
) -> list[tuple[str, ...]]:
    def per_benchmark(rule: str) -> dict[str, float]:
        return {b: 100 * _metric(ours.get(b), "combined", rule) for b in PAPER_BENCHMARKS}

    rows = []
    for rule in _RULES:
        cells = [number(value) for value in per_benchmark(rule).values()]
        rows.append((f"ours ({recipe})", MISSING, architecture, MISSING, MISSING, rule, *cells))
    if paper is not None:
        rows.append(_published_row(paper))
        change = [difference(v - paper.miou[b]) for b, v in per_benchmark(_RULES[0]).items()]
        rows.append((f"ours − {paper.method}", *[MISSING] * 4, _RULES[0], *change))
    return rows


def _published_row(result: PublishedResult) -> tuple[str, ...]:
    return (
        result.method,
        result.venue,
        result.vl_model,
        result.backbone,
        result.train_data,
        result.context_459_rule,
        *(number(result.miou[benchmark], 1) for benchmark in PAPER_BENCHMARKS),
    )


def _metric(evaluation: Evaluation | None, mode: str, metric: str) -> float:
    if evaluation is None or mode not in evaluation.results:
        return math.nan
    return evaluation.results[mode][metric]


def _with_error(value: Estimate) -> str:
    if math.isnan(value.error):
        return per_cent(value.mean)
    return f"{per_cent(value.mean)} ± {per_cent(value.error)}"
