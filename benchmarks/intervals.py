"""What intervals cost.

    python -m benchmarks.intervals

Counts of random label maps, as sparse as real ones: the seconds to count an image, the size of a
setting's counts, and the seconds for 30 settings of each of the paper's benchmarks with 1,000
resamples and for the cuts of the whole model, two benchmarks at a time. What a diagnosis takes of a
run's time, Snakemake's benchmark files say: `python -m workflow_scripts.stage_times`.
"""

import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from scan_core.evaluation.confusion import cells_and_pixels, count_pixels
from scan_core.evaluation.counts import BANDS, ImageCounts, bands, image_counts, save_counts
from scan_core.evaluation.cuts import cuts
from scan_core.evaluation.intervals import RESAMPLES, estimate
from scan_core.params.command_line import run
from scan_core.vocabulary.classes import load_class_list

SETTINGS = 30
# Class list and images of the paper's benchmarks.
BENCHMARKS = {
    "context_459": 5105,
    "context_59": 5105,
    "coco_stuff_171": 5000,
    "ade20k_847": 2000,
    "ade20k_150": 2000,
    "voc_20": 1449,
    "voc_20b": 1449,
}
CELLS = 60  # of an image's confusion matrix that are not 0


def random_counts(images: int, classes: int, seed: int) -> ImageCounts:
    """Counts of images that have about seven classes each."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(images):
        present = rng.choice(classes, 8)
        predicted = rng.choice([*present, *rng.choice(classes, 4)], CELLS)
        cells = np.unique(predicted * (classes + 1) + rng.choice(present, CELLS))
        rows.append((cells, rng.integers(1, 20_000, len(cells))))
    return image_counts(rows, classes)


def intervals_of(name: str) -> tuple[str, float, float]:
    """The seconds for one benchmark, and the megabytes of one setting's counts."""
    classes = load_class_list(name)
    classes = replace(classes, seen=tuple(n % 2 == 0 for n in range(len(classes))))
    counts = random_counts(BENCHMARKS[name], len(classes), 0)
    of_bands = dict.fromkeys(BANDS, counts)
    with tempfile.TemporaryDirectory() as folder:
        save_counts(Path(folder) / "counts.npz", {"one": counts, **of_bands})
        size = (Path(folder) / "counts.npz").stat().st_size / 1e6
    start = time.perf_counter()
    for _ in range(SETTINGS):
        estimate(counts, classes).intervals()
    cuts(counts, of_bands, classes)
    return name, time.perf_counter() - start, size


def seconds_to_count(classes: int, sparse: bool, by_band: bool, repeats: int = 50) -> float:
    """The seconds to count an image of 640 x 853 pixels, to keep its counts, and those of bands."""
    present = torch.randint(classes, (8,), dtype=torch.int32)
    maps = present[torch.randint(8, (2, 640, 853))]
    start = time.perf_counter()
    for _ in range(repeats):
        found = bands(maps[1].numpy()) if by_band else {}
        selected = [[torch.from_numpy(m.numpy()[band]) for m in maps] for band in found.values()]
        for first, second in [[maps[0], maps[1]], *selected]:
            (cells_and_pixels if sparse else count_pixels)(first, second, classes)
    return (time.perf_counter() - start) / repeats


def main() -> None:
    """Measure what counting an image costs, and intervals for the paper's benchmarks."""
    for name in ("ade20k_847", "voc_20"):
        whole, sparse, banded = (
            1000 * seconds_to_count(len(load_class_list(name)), *ways)
            for ways in ((False, False), (True, False), (True, True))
        )
        print(
            f"{name}: {whole:.1f} ms to count an image, {sparse - whole:.1f} ms to keep its "
            f"counts, {banded - sparse:.1f} ms for the whole model's by distance from a boundary"
        )
    start = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        for name, seconds, size in pool.map(intervals_of, BENCHMARKS):
            print(f"{name}: {seconds:.1f} s for {SETTINGS} settings, {size:.1f} MB a setting")
    seconds = time.perf_counter() - start
    print(f"{seconds:.0f} s for all, {RESAMPLES} resamples each")


if __name__ == "__main__":
    run(main)
