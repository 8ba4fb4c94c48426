"""Draw the figures of a recipe, each as PNG, PDF and SVG."""

from pathlib import Path

from scan_core.evaluation.counts import confusion_matrix, load_counts
from scan_core.params.command_line import run
from scan_core.reporting import diagnosis
from scan_core.reporting import figures as draw
from scan_core.reporting.findings import Findings
from scan_core.reporting.grids import grid_figure
from scan_core.reporting.results import load_curves, load_per_class
from scan_core.reporting.tables import combined
from scan_core.storage.files import write_text


def figures(found: Findings, output_folder: Path, curves: list[Path] = []) -> None:  # noqa: B006
    """Draw the figures of a recipe, each as PNG, PDF and SVG.

    These are seen_unseen; of each benchmark per_class_, confusion_, cuts_, ladder_ and
    calibration_BENCHMARK; per_class_BENCHMARK_METHOD of given predictions; ablation_GRID; and
    curves_segmenter and curves_clip_finetune, whose numbers are written as CSV too.

    Args:
        found: its results.
        output_folder: for the figures.
        curves: metrics.jsonl of each training, STAGE/VARIANT/metrics.jsonl.
    """
    drawn = {"seen_unseen": draw.seen_unseen_figure(found.results)}
    for of in combined(found.results, external=True).to_dict("records"):
        name, path, method = of["benchmark"], of["path"], of["recipe"]
        classes = load_per_class(path.with_name("per_class.csv"))
        if of["external"]:
            drawn[f"per_class_{name}_{method}"] = draw.per_class_figure(classes, name, method)
            continue
        counts = confusion_matrix(load_counts(path.with_name("counts.npz"))[0]["combined"])
        drawn[f"per_class_{name}"] = draw.per_class_figure(classes, name)
        drawn[f"cuts_{name}"] = diagnosis.cut_figure(diagnosis.load_cuts([path]), name)
        drawn[f"confusion_{name}"] = draw.confusion_figure(counts, classes, name)
    for record in found.diagnoses:
        drawn[f"ladder_{record['benchmark']}"] = diagnosis.ladder_figure(record)
        drawn[f"calibration_{record['benchmark']}"] = diagnosis.calibration_figure(record)
    drawn |= {f"ablation_{grid.name}": grid_figure(grid) for grid in found.grids}
    for path in curves:
        name = path.parts[-3].replace("finetuned_clip", "clip_finetune")
        values = load_curves(path)
        drawn[f"curves_{name}"] = draw.training_figure(values, name)
        table = values.to_csv(float_format="%.6g", lineterminator="\n")
        write_text(output_folder / f"curves_{name}.csv", table)
    for name, figure in drawn.items():
        draw.save_figure(figure, output_folder, name)


if __name__ == "__main__":
    run(figures)
