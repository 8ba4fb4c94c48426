"""Speed of reading and augmenting training images, and how long training waits for them.

    python -m benchmarks.loading --index data/mini/benchmarks/mini_coco_24/index.json

Prints images/s without workers and with 1, 2, ... of them, as a ratio to Pillow decoding the same
images and label maps in the same run; and, with `--step SECONDS` (from benchmarks.training_step),
the share of a training step that is spent waiting for its batch.
"""

import argparse
import time
from pathlib import Path

from scan_core.datasets.loading import BenchmarkImages
from scan_core.params.reading import read_params, validate
from scan_core.training.sampler import MicroBatches
from scan_core.training.segmenter import training_batches

BATCHES = 12


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="mini")
    parser.add_argument("--index", type=Path, required=True, help="of the training benchmark")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--step", type=float, help="seconds of one training step")
    options = parser.parse_args()
    recipe = validate(read_params(Path("params.yaml"))).recipes[options.recipe]
    images = BenchmarkImages(options.index, "train")
    size = recipe.segmenter.training.batch_size
    count = BATCHES * size

    start = time.perf_counter()
    for number in range(count):
        images.image(number % len(images))
        images.label(number % len(images))
    decoded = count / (time.perf_counter() - start)
    print(f"{'decoding alone':<16} {decoded:8.0f} images/s")
    for workers in options.workers:
        positions = MicroBatches(0, size, rank=0, processes=1, micro_batches=1)
        loader = iter(
            training_batches(images, recipe.segmenter.augmentation, recipe.seed, positions, workers)
        )
        next(loader)  # starts the workers
        waited = 0.0
        start = time.perf_counter()
        for _ in range(BATCHES):
            asked = time.perf_counter()
            next(loader)
            waited += time.perf_counter() - asked
            time.sleep(options.step or 0.0)
        elapsed = time.perf_counter() - start
        line = f"{f'{workers} workers':<16} {count / elapsed:8.0f} images/s"
        if options.step:
            line += f", waiting {waited / elapsed:6.1%} of the time"
        else:
            line += f", {count / elapsed / decoded:5.2f} times decoding"
        print(line)


if __name__ == "__main__":
    main()
