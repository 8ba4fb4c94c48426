"""Speed of reading and augmenting training data, and how long training waits for it.

    python -m benchmarks.loading --index data/mini/benchmarks/mini_coco_24/index.json
    python -m benchmarks.loading --index … --pairs results/mini/pairs/seed=0/pairs.jsonl

Prints the images/s of the segmenter's training, or with `--pairs` the pairs/s of the fine-tuning of
CLIP, without workers and with 1, 2, ... of them, as a ratio to Pillow decoding the same number of
images (with their label maps) in the same run; for the paper's networks also what eight GPUs could
take. With `--step SECONDS` (from benchmarks.training_step) it prints the share of a training step
that is spent waiting for its batch.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from lightning_fabric import Fabric

from scan_core.datasets.loading import BenchmarkImages
from scan_core.inference.scan import Scan
from scan_core.params.plan import FLOPS, GPUS
from scan_core.params.reading import read_params, validate
from scan_core.params.schema.recipe import Recipe
from scan_core.training.batches import micro_batches
from scan_core.training.clip_finetune import FinetuneTask
from scan_core.training.mining import MaskTextPairs
from scan_core.training.segmenter import training_batches

BATCHES = 12
# A crop of the fine-tuning costs as much as four forward passes of CLIP's image tower: forwards
# and backwards, and the whole image forwards.
PASSES_PER_PAIR = 4


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="mini")
    parser.add_argument("--index", type=Path, required=True, help="of the training benchmark")
    parser.add_argument("--pairs", type=Path, help="mined on it: measure the fine-tuning's data")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--step", type=float, help="seconds of one training step")
    options = parser.parse_args()
    recipe = validate(read_params(Path("params.yaml"))).recipes[options.recipe]
    images = BenchmarkImages(options.index, "train")
    pairs = MaskTextPairs(options.pairs) if options.pairs else None
    what = "images" if pairs is None else "pairs"
    stage = recipe.segmenter.training if pairs is None else recipe.clip_finetune
    count = BATCHES * stage.batch_size

    start = time.perf_counter()
    for number in range(count):
        images.image(number % len(images))
        images.label(number % len(images))
    decoded = count / (time.perf_counter() - start)
    print(f"{'decoding alone':<16} {decoded:8.0f} images/s")
    for workers in options.workers:
        loader = _loader(recipe, images, pairs, workers)
        next(loader)  # starts the workers
        waited = 0.0
        start = time.perf_counter()
        for _ in range(BATCHES):
            asked = time.perf_counter()
            next(loader)
            waited += time.perf_counter() - asked
            time.sleep(options.step or 0.0)
        elapsed = time.perf_counter() - start
        line = f"{f'{workers} workers':<16} {count / elapsed:8.0f} {what}/s"
        if options.step:
            line += f", waiting {waited / elapsed:6.1%} of the time"
        else:
            line += f", {count / elapsed / decoded:5.2f} times decoding"
        print(line)
    if flops := FLOPS.get(str(recipe.clip.architecture)):
        each = flops.training if pairs is None else PASSES_PER_PAIR * flops.crop
        gpu = GPUS["h100"]
        print(
            f"eight H100s could take {8 * gpu.bfloat16 / each:,.0f} {what}/s in bfloat16 "
            f"({each:.2f} TFLOP each, {gpu.bfloat16:g} TFLOP/s)"
        )


def _loader(
    recipe: Recipe, images: BenchmarkImages, pairs: MaskTextPairs | None, workers: int
) -> Iterator[object]:
    if pairs is None:
        size = recipe.segmenter.training.batch_size
        positions = micro_batches(0, size, rank=0, processes=1)
        return iter(
            training_batches(images, recipe.segmenter.augmentation, recipe.seed, positions, workers)
        )
    settings = recipe.clip_finetune
    # As often as it takes for the batches that are asked for, and those that are read ahead.
    epochs = settings.epochs + 3 * BATCHES * settings.batch_size // len(pairs)
    settings = settings.model_copy(update={"epochs": epochs})
    fabric = Fabric(accelerator="cpu", devices=1)
    scan = Scan.from_recipe(recipe)
    return FinetuneTask(fabric, scan, pairs, images, settings, recipe.seed, workers).batches(0)


if __name__ == "__main__":
    main()
