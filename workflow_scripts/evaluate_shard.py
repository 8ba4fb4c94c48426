"""Evaluate a model on a part of a benchmark's images, under one or many settings in one pass."""

import logging
from pathlib import Path
from typing import Literal

from scan_core.params.command_line import run


def evaluate_shard(
    model: Path,
    index: Path,
    classes: str,
    output: Path,
    settings: Path | None = None,
    benchmark: str | None = None,
    shard: int = 0,
    shards: int = 1,
    chance: bool = False,
    predictions: Path | None = None,
    prediction_format: Literal["png", "coco_rle", "both"] = "png",
    most_predictions: int | None = None,
    text_cache: Path | None = None,
    evaluated: Path | None = None,
    code: str = "",
    workers: int = 1,
) -> None:
    """Evaluate a model on a part of a benchmark's images, under one or many settings in one pass.

    Args:
        model: a fused or a released model.
        index: of the benchmark.
        classes: class list it is scored by.
        output: counts, a .npz file to write.
        settings: JSON file of test-time settings (default: those that a released model holds).
        benchmark: without --settings: take the released model's settings for this one.
        shard: number of this shard, from 0.
        shards: number of shards.
        chance: also count random classes.
        predictions: folder for predictions.
        prediction_format: label maps <classifier>/<stem>.png, or <classifier>.json of masks in
            COCO's format of results, with training ids, or both.
        most_predictions: of how many images (default: all).
        text_cache: folder for text features.
        evaluated: folder of counts by settings (default: beside the output); those there are kept.
        code: names the code: other code, other counts.
        workers: threads that read images.
    """
    from scan_core.datasets.loading import BenchmarkImages
    from scan_core.evaluation.counts import save_counts
    from scan_core.evaluation.evaluator import CountStore, evaluate_shard, store_identity
    from scan_core.evaluation.predictions import export_predictions
    from scan_core.evaluation.settings_file import EvaluationSettings
    from scan_core.inference.devices import chosen_device
    from scan_core.inference.scan import Scan
    from scan_core.vocabulary.classes import load_class_list

    wanted = EvaluationSettings.read(settings) if settings else None
    table = wanted.table() if wanted else None
    scan = Scan.from_checkpoint(model, table, device=chosen_device("auto"), text_cache=text_cache)
    wanted = wanted or EvaluationSettings.of_classifiers(scan.settings_table.of(benchmark))
    images, class_list = BenchmarkImages(index, "val"), load_class_list(classes)
    first, last = (number * len(images) // shards for number in (shard, shard + 1))
    drawn = 0 if predictions is None else min(last - first, most_predictions or last)
    identity = store_identity(model, images, class_list, code)
    store = CountStore(evaluated or output.parent / "evaluated", identity)
    counts, timing = evaluate_shard(
        scan, images, class_list, wanted, range(first, last), store, chance, drawn, workers
    )
    save_counts(output, counts, timing=timing, settings=wanted.as_dict())
    if predictions is not None:
        names = {name: store.label_maps(key) for name, key in wanted.classifiers.items()}
        numbers = range(first, first + drawn)
        export_predictions(predictions, names, images, numbers, class_list, prediction_format)
    logging.info("%d of %d images were counted", timing["counted"], timing["images"])


if __name__ == "__main__":
    run(evaluate_shard)
