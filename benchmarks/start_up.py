"""What it costs to start a process that uses the model, and what share of the work that is.

    python -m benchmarks.start_up --results results/mini

Prints processor seconds of importing PyTorch, open_clip, the inference API and the training; and
for every rule of a recipe that was run how many jobs it had, what they took, and which share of it
was starting.
"""

import argparse
import csv
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

IMPORTS = {
    "Python alone": "pass",
    "PyTorch": "import torch",
    "the inference API": "import scan_core.inference.scan",
    "training": "import scan_core.training.segmenter",
    "open_clip": "import open_clip",
}
RUNS = 3
# Rules whose scripts use the networks.
USE_NETWORKS = (
    *("clip_weights", "train_segmenter", "mine_shard", "finetune_clip"),
    *("fuse_weights", "evaluate_shard", "diagnose", "search_settings"),
)


def cost(code: str) -> float:
    """Processor seconds of a process that runs `code`, the least of a few runs."""
    measured = []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        measured.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(measured)


def jobs(timings: Path) -> Iterator[tuple[str, list[float]]]:
    """Rule -> processor seconds of its jobs, as Snakemake measured them."""
    for folder in sorted(path for path in timings.iterdir() if path.is_dir()):
        seconds = []
        for table in folder.rglob("*.tsv"):
            with table.open(encoding="utf-8", newline="") as file:
                rows = [row["cpu_time"] for row in csv.DictReader(file, delimiter="\t")]
            seconds += [float(value) for value in rows if value not in ("", "-", "NA")]
        if seconds:
            yield folder.name, seconds


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, help="of a recipe; not given: imports alone")
    options = parser.parse_args()
    costs = {name: cost(code) for name, code in IMPORTS.items()}
    for name, seconds in costs.items():
        print(f"{name:<20} {seconds:6.2f} s   {seconds / costs['PyTorch']:5.2f} times PyTorch")
    if options.results is None:
        return
    print(f"\n{'rule':<24} {'jobs':>5} {'processor s':>12} {'starting':>9}")
    for rule, taken in jobs(options.results / "timings"):
        start = costs["the inference API" if rule in USE_NETWORKS else "Python alone"]
        share = min(1.0, start * len(taken) / max(sum(taken), 1e-9))
        print(f"{rule:<24} {len(taken):5d} {sum(taken):12.1f} {share:9.1%}")


if __name__ == "__main__":
    main()
