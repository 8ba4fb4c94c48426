"""Say what a recipe takes before it is run: jobs, steps, GPU hours, disk, and what to fetch."""

import re
import subprocess
import sys
from pathlib import Path

from tyro.conf import Positional

from scan_core.errors import InputError
from scan_core.params.command_line import run
from scan_core.params.plan import gpus_of, plan
from scan_core.params.reading import read_params, validate


def print_plan(
    recipe: Positional[str | None] = None, profile: Path = Path("slurm/profile.yaml")
) -> None:
    """Say what a recipe takes before it is run: jobs, steps, GPU hours, disk, and what to fetch.

    Args:
        recipe: of params.yaml; without it, the one that params.yaml runs.
        profile: for SLURM; it names the GPUs.
    """
    file = Path("params.yaml")
    chosen = read_params(file) | ({"recipe": recipe} if recipe else {})
    print(plan(validate(chosen, str(file)), gpus_of(profile), _jobs(chosen["recipe"])))


def _jobs(recipe: str) -> dict[str, tuple[int, int]]:
    """Rule -> its jobs in `all`, altogether and left to do, by two dry runs of Snakemake."""
    counts = []
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--cores", "1"]
    for option in (["--forceall"], []):
        asked = [*command, *option, "--config", f"recipe={recipe}", "--", "all"]
        ran = subprocess.run(asked, capture_output=True, text=True)
        if ran.returncode:
            raise InputError(f"Snakemake cannot plan this: {ran.stderr}{ran.stdout}")
        found = re.findall(r"^(\w+) +(\d+)$", ran.stdout + ran.stderr, re.MULTILINE)
        counts.append({rule: int(number) for rule, number in found if rule != "total"})
    return {rule: (number, counts[1].get(rule, 0)) for rule, number in counts[0].items()}


if __name__ == "__main__":
    run(print_plan)
