"""Diagnose a model on a benchmark: where are the points lost, and are the scores calibrated?"""

import logging
from pathlib import Path

from scan_core.params.command_line import run


def diagnose(
    model: Path,
    index: Path,
    classes: str,
    settings: Path,
    images: int,
    recipe: str,
    variant: str,
    output_folder: Path,
    text_cache: Path | None = None,
    code: str = "",
    workers: int = 1,
) -> None:
    """Diagnose a model on a benchmark: where are the points lost, and are the scores calibrated?

    Args:
        model: made by `fuse_weights`.
        index: of the benchmark.
        classes: class list it is scored by.
        settings: JSON file of test-time settings, with those of the model as it is.
        images: how many of the validation images, and of the training images that calibrate the
            temperature and the weight, spread evenly; 0: all.
        recipe: name, for the record.
        variant: of the model, for the record.
        output_folder: for diagnosis.json, ladder.csv and counts.npz.
        text_cache: folder for text features.
        code: names the code: other code, other counts.
        workers: threads that read images.
    """
    from scan_core.datasets.loading import BenchmarkImages
    from scan_core.evaluation.diagnosis import calibrate, candidates, diagnose_in_parts
    from scan_core.evaluation.evaluator import CountStore, store_identity
    from scan_core.evaluation.ladder import calibrated, write_diagnosis
    from scan_core.evaluation.settings_file import EvaluationSettings
    from scan_core.inference.devices import chosen_device
    from scan_core.inference.scan import Scan
    from scan_core.vocabulary.classes import load_class_list

    wanted = EvaluationSettings.read(settings).table()
    scan = Scan.from_checkpoint(model, wanted, device=chosen_device("auto"), text_cache=text_cache)
    split, class_list = BenchmarkImages(index, "val"), load_class_list(classes)
    identity = store_identity(model, split, class_list, f"{code} {wanted.default.key} {images}")
    store = CountStore(output_folder / "counted", identity)
    counts = diagnose_in_parts(scan, split, class_list, images, store, workers)
    tuned = []
    if "train" in split.index.splits:
        others = BenchmarkImages(index, "train")
        identity = store_identity(model, others, class_list, code)
        store = CountStore(output_folder / "calibrated", identity)
        found = diagnose_in_parts(scan, others, class_list, images, store, workers, calibrate)
        tuned = calibrated(found, candidates(scan, scan.settings), class_list)
    about = {"recipe": recipe, "variant": variant, "benchmark": split.index.name}
    logging.info("%s", write_diagnosis(output_folder, counts, class_list, about, tuned))


if __name__ == "__main__":
    run(diagnose)
