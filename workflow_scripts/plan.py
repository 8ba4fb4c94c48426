"""Say what a recipe takes before it is run: jobs, steps, GPU hours, disk, and what to fetch."""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ruamel.yaml import YAML

from scan_core.command.command_line import run
from scan_core.errors import InputError
from scan_core.params.gpus import Gpus, named_gpus
from scan_core.params.plan import as_text, plan_of
from scan_core.params.reading import SNAPSHOT_VARIABLE, validate


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument(
        "--params", type=Path, required=True, help="JSON file of the whole of params.yaml"
    )
    result.add_argument("--snakefile", type=Path, default=Path("Snakefile"))
    result.add_argument(
        "--profile", type=Path, default=Path("slurm/profile.yaml"), help="names the GPUs"
    )
    return result


def main(arguments: argparse.Namespace) -> None:
    """Print the plan."""
    text = arguments.params.read_text(encoding="utf-8")
    plan = plan_of(validate(json.loads(text)), gpus_of(arguments.profile))
    print(as_text(plan, jobs(text, arguments.snakefile)))


def gpus_of(profile: Path) -> Gpus:
    """The GPUs of a training, as a profile for SLURM names them."""
    site = YAML(typ="safe").load(profile)["__variables__"]
    return named_gpus(str(site["gpu"]), int(site["nodes"]) * int(site["gpus_per_node"]))


def jobs(params: str, snakefile: Path) -> dict[str, tuple[int, int]]:
    """Rule -> its jobs in `all`, altogether and left to do, by two dry runs of Snakemake."""
    with tempfile.TemporaryDirectory() as folder:
        snapshot = Path(folder, "params.json")
        snapshot.write_text(params, encoding="utf-8")
        counts = []
        for option in (["--forceall"], []):
            ran = subprocess.run(
                [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", *option,
                 "--cores", "1", "--snakefile", str(snakefile), "all"],
                env={**os.environ, SNAPSHOT_VARIABLE: str(snapshot)},
                capture_output=True,
                text=True,
            )  # fmt: skip
            if ran.returncode:
                raise InputError(f"Snakemake cannot plan this: {ran.stderr}{ran.stdout}")
            found = re.findall(r"^(\w+) +(\d+)$", ran.stdout + ran.stderr, re.MULTILINE)
            counts.append({rule: int(number) for rule, number in found if rule != "total"})
    return {rule: (number, counts[1].get(rule, 0)) for rule, number in counts[0].items()}


if __name__ == "__main__":
    run(parser(), main)
