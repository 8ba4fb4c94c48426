"""Merge the shards of a benchmark's evaluation: metrics, table of classes, counts of images."""

import logging
from pathlib import Path

from scan_core.params.command_line import run


def evaluate(
    shards: list[Path],
    classes: str,
    recipe: str,
    variant: str,
    benchmark: str,
    output_folder: Path,
    model: Path | None = None,
    code: tuple[str, ...] = (),
) -> None:
    """Merge the shards of a benchmark's evaluation: metrics, table of classes, counts of images.

    Args:
        shards: .npz files, in the order of their images.
        classes: class list it is scored by.
        recipe: name, for the record.
        variant: of the model, for the record.
        benchmark: name, for the record.
        output_folder: for metrics.json (the classifiers of the recipe's own settings),
            evaluation.json (every setting), per_class.csv, the counts of each image (counts.npz),
            and the metrics over the resamples (resamples.npz).
        model: that was evaluated, for the record of the code.
        code: hashes of the code, SCRIPT=HASH.
    """
    from scan_core.evaluation.results import merge_shards, write_evaluation
    from scan_core.params.provenance import weights_made_by
    from scan_core.vocabulary.classes import load_class_list

    made_by = weights_made_by(model) if model else {}
    codes = {**made_by.get("code", {}), **dict(one.split("=", 1) for one in code)}
    about = {"recipe": recipe, "variant": variant, "benchmark": benchmark, **made_by, "code": codes}
    class_list = load_class_list(classes)
    metrics = write_evaluation(output_folder, merge_shards(shards), class_list, about)
    logging.info("%s: mIoU %.4f", benchmark, metrics["miou"])


if __name__ == "__main__":
    run(evaluate)
