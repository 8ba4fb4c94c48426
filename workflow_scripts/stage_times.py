"""How long each stage of a run took, as Snakemake measured it."""

import argparse
import csv
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.errors import InputError


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--timings", type=Path, required=True, help="results/<recipe>/timings")
    result.add_argument("--whole", type=float, help="seconds of the run as a whole, to be printed")
    return result


def stages(timings: Path) -> dict[str, tuple[int, float, float]]:
    """Rule -> number of jobs, their seconds and their processor seconds, the longest first.

    Args:
        timings: folder of Snakemake's benchmark files, `<rule>.tsv` or `<rule>/<variant>.tsv`.
    """
    found: dict[str, tuple[int, float, float]] = {}
    for table in sorted(timings.rglob("*.tsv")):
        rule = table.relative_to(timings).parts[0].removesuffix(".tsv")
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                jobs, seconds, busy = found.get(rule, (0, 0.0, 0.0))
                # Snakemake writes NA for a job that was over before it could look at it.
                cpu = float(row["cpu_time"]) if row["cpu_time"] not in ("NA", "-") else 0.0
                found[rule] = (jobs + 1, seconds + float(row["s"]), busy + cpu)
    return dict(sorted(found.items(), key=lambda stage: -stage[1][1]))


def main(arguments: argparse.Namespace) -> None:
    """Print the table."""
    rows = stages(arguments.timings)
    if not rows:
        raise InputError(f"{arguments.timings} holds no timings: nothing has been run there")
    print(f"{'stage':<24} {'jobs':>5} {'seconds':>8} {'processor s':>12}")
    for rule, (jobs, seconds, busy) in rows.items():
        print(f"{rule:<24} {jobs:5d} {seconds:8.1f} {busy:12.1f}")
    jobs, seconds, busy = (sum(column) for column in zip(*rows.values(), strict=True))
    print(f"{'all jobs':<24} {jobs:5.0f} {seconds:8.1f} {busy:12.1f}")
    if arguments.whole is not None:
        minutes, rest = divmod(round(arguments.whole), 60)
        print(f"The whole run took {minutes} min {rest} s; several jobs run side by side.")


if __name__ == "__main__":
    run(parser(), main)
