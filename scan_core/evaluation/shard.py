"""One shard of an evaluation, from files to a file; what is counted already stays."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from scan_core.datasets.loading import BenchmarkImages
from scan_core.evaluation.evaluator import PredictionFormat, Shard, evaluate
from scan_core.evaluation.merging import save_shard
from scan_core.evaluation.settings_file import EvaluationSettings
from scan_core.evaluation.shard_store import ShardStore
from scan_core.inference.scan import Scan
from scan_core.params.classifiers import CHANCE
from scan_core.vocabulary.classes import load_class_list


@dataclass(frozen=True)
class ShardJob:
    """What is evaluated.

    Attributes:
        model: file of the weights.
        index: of the benchmark.
        split: of the benchmark.
        classes: class list that it is scored by.
        shard: which images.
        chance: count random classes as well.
        shows: keep predictions of the ways to classify.
        prediction_format: of them.
        most_predictions: of how many images; None: all.
        code: a hash of what runs.
    """

    model: Path
    index: Path
    split: str
    classes: str
    shard: Shard
    chance: bool
    shows: bool
    prediction_format: PredictionFormat
    most_predictions: int | None
    code: str

    def identity(self) -> dict[str, object]:
        """What counts depend on besides the settings, for JSON."""
        classes = load_class_list(self.classes)
        predicted = classes if not classes.predict_with else load_class_list(classes.predict_with)
        return {
            "model": _digest(self.model),
            "index": _digest(self.index),
            "split": self.split,
            "names": [classes.names, predicted.names],
            "shard": [self.shard.number, self.shard.count],
            "predictions": [self.prediction_format, self.most_predictions],
            "code": self.code,
        }


def count_shard(
    job: ShardJob,
    wanted: EvaluationSettings | None,
    store_folder: Path,
    output: Path,
    device: str,
    text_cache: Path | None,
    benchmark: str | None = None,
    workers: int = 1,
) -> tuple[Path | None, int]:
    """Count the pixels of a shard under all settings, and write the counts.

    Args:
        job: what is evaluated.
        wanted: the settings; None: the ways to classify of those that the model holds.
        store_folder: where counts are kept by their settings.
        output: a `.npz` file of all counts.
        device: in PyTorch's words.
        text_cache: folder of text features.
        benchmark: whose settings of the model's are taken, where `wanted` is None.
        workers: threads that read images ahead.

    Returns:
        the folder of predictions, where some are wanted, and how many settings were not counted
        before.

    Raises:
        InputError: a file that cannot be read, or a model without settings where none are given.
    """
    scan = None
    if wanted is None:
        scan = Scan.from_checkpoint(job.model, device=device, text_cache=text_cache)
        wanted = EvaluationSettings.of_ways(scan.settings_table.of(benchmark))
    store = ShardStore(store_folder, job.identity())
    labels = [*wanted.settings, CHANCE] if job.chance else list(wanted.settings)
    counts = store.load(labels)
    kept = store.predictions(wanted.ways) if job.shows else None
    missing = {key: one for key, one in wanted.settings.items() if key not in counts}
    needed = dict(missing)
    if job.shows and kept is None:
        needed |= {key: wanted.settings[key] for key in wanted.ways.values()}
    images = BenchmarkImages(job.index, job.split)
    of_shard = len(range(job.shard.number, len(images), job.shard.count))
    timing = {"images": float(of_shard), "counted": 0.0, "seconds": 0.0}
    if needed or (job.chance and CHANCE not in counts):
        # Random classes are given to proposals, which any settings show.
        needed = needed or dict([next(iter(wanted.settings.items()))])
        if scan is None:
            scan = Scan.from_checkpoint(
                job.model,
                wanted.table(),
                device=device,
                text_cache=text_cache,
            )
        unfinished = store.unfinished if job.shows and kept is None else None
        matrices, spent = evaluate(
            scan,
            images,
            load_class_list(job.classes),
            needed,
            job.shard,
            unfinished,
            wanted.ways,
            job.most_predictions,
            job.chance and CHANCE not in counts,
            job.prediction_format,
            store.counting,
            workers,
        )
        timing |= {"counted": spent["images"], "seconds": spent["seconds"]}
        found = {label: matrix.counts() for label, matrix in matrices.items()}
        store.save(found)
        store.counting.remove()
        counts |= found
        if unfinished is not None:
            store.keep_predictions(unfinished)
            kept = store.predictions(wanted.ways)
    text = json.dumps(wanted.as_dict())
    save_shard(output, {label: counts[label] for label in labels}, timing, text)
    return kept, len(missing)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
