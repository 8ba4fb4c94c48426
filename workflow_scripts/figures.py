"""Draw the figures of a recipe, each as PNG, PDF and SVG."""

from pathlib import Path

from scan_core.params.command_line import run


def figures(
    evaluation: list[Path],
    output_folder: Path,
    ablation: list[Path] = [],  # noqa: B006
    given: list[Path] = [],  # noqa: B006
    curves: list[Path] = [],  # noqa: B006
    diagnosis: list[Path] = [],  # noqa: B006
) -> None:
    """Draw the figures of a recipe, each as PNG, PDF and SVG.

    Args:
        evaluation: metrics.json of each benchmark, with per_class.csv and counts.npz beside it:
            seen_unseen, and per_class_, confusion_ and cuts_BENCHMARK.
        output_folder: for the figures.
        ablation: CSV of each grid: ablation_GRID.
        given: metrics.json of predictions of other models, with per_class.csv beside it:
            per_class_BENCHMARK_METHOD.
        diagnosis: diagnosis.json of each benchmark: ladder_BENCHMARK and calibration_BENCHMARK.
        curves: metrics.jsonl of each training, STAGE/VARIANT/metrics.jsonl: curves_segmenter or
            curves_clip_finetune, and the numbers as CSV.
    """
    from scan_core.evaluation.counts import confusion_matrix, load_counts
    from scan_core.reporting import figures as draw
    from scan_core.reporting import results as read
    from scan_core.reporting.diagnosis import (
        calibration_figure,
        cut_figure,
        ladder_figure,
        load_cuts,
        load_diagnosis,
    )
    from scan_core.reporting.grids import grid_figure, load_grid
    from scan_core.storage.files import write_text

    results = read.load_evaluations(evaluation, given)
    drawn = {"seen_unseen": draw.seen_unseen_figure(results)}
    for path, name in zip(evaluation, results["benchmark"].cat.categories, strict=False):
        classes = read.load_per_class(path.with_name("per_class.csv"))
        counts = confusion_matrix(load_counts(path.with_name("counts.npz"))[0]["combined"])
        drawn[f"per_class_{name}"] = draw.per_class_figure(classes, name)
        drawn[f"cuts_{name}"] = cut_figure(load_cuts([path]), name)
        drawn[f"confusion_{name}"] = draw.confusion_figure(counts, classes, name)
    for path in given:
        method, name = read.load_evaluations([path])[["recipe", "benchmark"]].iloc[0]
        classes = read.load_per_class(path.with_name("per_class.csv"))
        drawn[f"per_class_{name}_{method}"] = draw.per_class_figure(classes, name, method)
    for grid in map(load_grid, ablation):
        drawn[f"ablation_{grid.name}"] = grid_figure(grid)
    for record in map(load_diagnosis, diagnosis):
        drawn[f"ladder_{record['benchmark']}"] = ladder_figure(record)
        drawn[f"calibration_{record['benchmark']}"] = calibration_figure(record)
    for path in curves:
        name = path.parts[-3].replace("finetuned_clip", "clip_finetune")
        values = read.load_curves(path)
        drawn[f"curves_{name}"] = draw.training_figure(values, name)
        table = values.to_csv(float_format="%.6g", lineterminator="\n")
        write_text(output_folder / f"curves_{name}.csv", table)
    for name, figure in drawn.items():
        draw.save_figure(figure, output_folder, name)


if __name__ == "__main__":
    run(figures)
