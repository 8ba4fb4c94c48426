"""Score what any model has predicted on a benchmark, by all metrics and rules."""

from pathlib import Path
from typing import Literal

from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.evaluation.results import write_scores
from scan_core.params.command_line import run
from scan_core.params.metric_names import METRICS
from scan_core.reporting.diagnosis import cut_table, load_cuts
from scan_core.reporting.published import scored_table
from scan_core.reporting.results import load_evaluations
from scan_core.storage.files import read_json, write_text
from scan_core.vocabulary.classes import builtin_class_lists, load_class_list


def score(
    benchmark: Path,
    predictions: Path,
    out: Path,
    ids: Literal["training", "raw"] = "training",
    classes: str | None = None,
    split: str = "val",
    method: str = "predictions",
) -> None:
    """Score what any model has predicted on a benchmark, by all metrics and rules.

    Writes metrics.json, per_class.csv, counts.npz (of each image) and, where there
    are published numbers of the benchmark, published.md; and prints the metrics, with their 95 %
    intervals by bootstrap over the images, which pixels are wrong, and the table.

    Args:
        benchmark: folder of a benchmark, or its index.json.
        predictions: folder of label maps, <stem of the image>.png with 8 or 16 bits, or a .json of
            masks in COCO's run lengths.
        out: folder to write to.
        ids: what a predicted number is: the place in the class list, from 0, or the class's value
            in the raw label maps.
        classes: class list (default: the benchmark's own, if built in).
        split: of the benchmark.
        method: what the tables call the model.
    """
    index = benchmark / "index.json" if benchmark.is_dir() else benchmark
    images = BenchmarkImages(index, split)
    name, own = images.index.name, images.index.classes
    if classes is None and own not in builtin_class_lists():
        raise InputError(
            f"the benchmark {name} has a class list of your own, {own}; name its file with "
            "--classes"
        )
    class_list = load_class_list(classes or own)
    metrics = write_scores(images, class_list, predictions, ids, method, out)
    bounds = read_json(out / "metrics.json")["intervals"]["combined"]
    for key, value in metrics.items():
        if value is None:
            continue  # of classes that the benchmark does not have, such as unseen ones
        low, high = bounds[key]
        shown = f"{100 * value:.2f} [{100 * low:.2f}, {100 * high:.2f}]"
        print(f"{key:<20} {shown:>22}  {METRICS[key].description}")
    print(f"\n{cut_table(load_cuts([out / 'metrics.json'])).markdown()}")
    table = scored_table(load_evaluations([out / "metrics.json"]))
    if table is not None:
        write_text(out / "published.md", table.markdown())
        print(f"\n{table.markdown()}")


def start() -> None:
    """Run the command."""
    run(score)


if __name__ == "__main__":
    start()
