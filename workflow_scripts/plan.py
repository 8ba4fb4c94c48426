"""Say what a recipe takes before it is run: jobs, steps, GPU hours, disk, and what to fetch."""

import os
import re
import subprocess
import sys
from pathlib import Path

from scan_core.errors import InputError
from scan_core.params.command_line import run
from scan_core.params.plan import gpus_of, plan
from scan_core.params.reading import SNAPSHOT_VARIABLE, read_params, validate


def print_plan(
    params: Path, snakefile: Path = Path("Snakefile"), profile: Path = Path("slurm/profile.yaml")
) -> None:
    """Say what a recipe takes before it is run: jobs, steps, GPU hours, disk, and what to fetch.

    Args:
        params: JSON file of the whole of params.yaml.
        snakefile: of the workflow.
        profile: for SLURM; it names the GPUs.
    """
    print(plan(validate(read_params(params)), gpus_of(profile), _jobs(params, snakefile)))


def _jobs(params: Path, snakefile: Path) -> dict[str, tuple[int, int]]:
    """Rule -> its jobs in `all`, altogether and left to do, by two dry runs of Snakemake."""
    counts = []
    for option in (["--forceall"], []):
        ran = subprocess.run(
            [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", *option,
             "--cores", "1", "--snakefile", str(snakefile), "all"],
            env={**os.environ, SNAPSHOT_VARIABLE: str(params.absolute())},
            capture_output=True, text=True,
        )  # fmt: skip
        if ran.returncode:
            raise InputError(f"Snakemake cannot plan this: {ran.stderr}{ran.stdout}")
        found = re.findall(r"^(\w+) +(\d+)$", ran.stdout + ran.stderr, re.MULTILINE)
        counts.append({rule: int(number) for rule, number in found if rule != "total"})
    return {rule: (number, counts[1].get(rule, 0)) for rule, number in counts[0].items()}


if __name__ == "__main__":
    run(print_plan)
