"""Merge the shards of a benchmark's evaluation: metrics, table of classes, confusion matrix."""

import logging
from pathlib import Path

from scan_core.params.command_line import run
from scan_core.storage.atomic import write_text


def evaluate(
    shards: list[Path],
    classes: str,
    recipe: str,
    variant: str,
    benchmark: str,
    metrics: Path,
    everything: Path,
    per_class: Path,
    confusion: Path,
    model: Path,
    code: list[str],
) -> None:
    """Merge the shards of a benchmark's evaluation: metrics, table of classes, confusion matrix.

    Args:
        shards: .npz files.
        classes: class list it is scored by.
        recipe: name, for the record.
        variant: of the model, for the record.
        benchmark: name, for the record.
        metrics: JSON file to write: the classifiers of the recipe's own settings.
        everything: JSON file to write: every setting.
        per_class: CSV file to write.
        confusion: .npz file to write.
        model: that was evaluated, for the record of the code.
        code: hashes of the code, SCRIPT=HASH.
    """
    from scan_core.evaluation.merging import (
        merge_shards,
        numbers_of,
        save_confusion,
        write_metrics,
        write_numbers,
    )
    from scan_core.evaluation.per_class import per_class_table
    from scan_core.params.provenance import code_of
    from scan_core.vocabulary.classes import load_class_list

    class_list = load_class_list(classes)
    merged = merge_shards(shards)
    ways, settings = merged.ways(), merged.settings.table().default.as_dict()
    of_scripts = dict(one.split("=", 1) for one in code)
    about = {
        **{"recipe": recipe, "variant": variant, "benchmark": benchmark},
        "code": {**code_of(model), **of_scripts},
    }
    write_metrics(metrics, ways, merged.timing, class_list, settings, about)
    write_numbers(everything, merged, class_list)
    write_text(per_class, per_class_table(ways["combined"], class_list))
    save_confusion(confusion, ways["combined"])
    logging.info("%s: mIoU %.4f", benchmark, numbers_of(ways["combined"], class_list)["miou"])


if __name__ == "__main__":
    run(evaluate)
