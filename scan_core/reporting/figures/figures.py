"""All figures of a report, each as PNG and SVG; of the curves the numbers as well."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from scan_core.errors import InputError
from scan_core.params.data_names import name_of
from scan_core.reporting.figures.grid_figures import grid_figure
from scan_core.reporting.figures.plotting import save_figure
from scan_core.reporting.figures.result_figures import (
    confusion_figure,
    per_class_figure,
    seen_unseen_figure,
)
from scan_core.reporting.figures.training_figures import curve_values, training_figure
from scan_core.reporting.results import (
    load_confusion,
    load_curves,
    load_evaluations,
    load_given,
    load_per_class,
)
from scan_core.reporting.tables.grids import load_grid
from scan_core.storage.atomic import write_text


def draw_figures(
    evaluations: Sequence[Path],
    per_class: Sequence[Path],
    confusions: Sequence[Path],
    grids: Sequence[Path],
    curves: Mapping[str, Path],
    output_folder: Path,
    given: Sequence[Path] = (),
) -> list[str]:
    """Draw whatever there are results for.

    Args:
        evaluations: `metrics.json` of each benchmark: `seen_unseen`.
        per_class: `<benchmark>/per_class.csv`: `per_class_<benchmark>`.
        confusions: `<benchmark>/confusion.npz`: `confusion_<benchmark>`; its names are those of
            the benchmark's class table.
        grids: CSV of each grid: `ablation_<grid>`.
        curves: name of a training -> its `metrics.jsonl`: `curves_<name>`, and its numbers as
            CSV.
        output_folder: where to write, each file atomically.
        given: `<method>/<benchmark>/metrics.json` of predictions of other models, each with its
            `per_class.csv` beside it: in `seen_unseen`, and `per_class_<benchmark>_<method>`.

    Returns:
        the figures' names.

    Raises:
        InputError: a file is unreadable or damaged, or a confusion matrix has no class table.
    """
    figures: dict[str, Figure] = {}
    if evaluations:
        figures["seen_unseen"] = seen_unseen_figure(
            load_evaluations(evaluations), load_given(given)
        )
    tables = {name_of(path.parent.name): load_per_class(path) for path in per_class}
    for benchmark, classes in tables.items():
        figures[f"per_class_{benchmark}"] = per_class_figure(classes, benchmark)
    for path in given:
        method, benchmark = path.parts[-3], name_of(path.parent.name)
        classes = load_per_class(path.with_name("per_class.csv"))
        figures[f"per_class_{benchmark}_{method}"] = per_class_figure(classes, benchmark, method)
    for path in confusions:
        benchmark = name_of(path.parent.name)
        if benchmark not in tables:
            raise InputError(
                f"{path} holds no class names; give the per_class.csv of {benchmark} as well"
            )
        counts = load_confusion(path)
        figures[f"confusion_{benchmark}"] = confusion_figure(counts, tables[benchmark], benchmark)
    for path in grids:
        grid = load_grid(path)
        figures[f"ablation_{grid.name}"] = grid_figure(grid)
    for name, path in curves.items():
        values = load_curves(path)
        figures[f"curves_{name}"] = training_figure(values, name)
        write_text(output_folder / f"curves_{name}.csv", curve_values(values).csv())
    for name, figure in figures.items():
        save_figure(figure, output_folder, name)
    return list(figures)
