"""Go on with a workflow on the cluster whose Snakemake has died, without doing anything twice.

`wait` lets the jobs that it left behind end, and keeps what they make; `cancel` ends them, and
trainings continue from their last checkpoint. Then Snakemake is started again, with whatever
arguments follow, such as `all --config recipe=vitl14`.
"""

import argparse
import logging
import os
import subprocess
import sys
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.command.leftovers import Leftovers, processes_in
from scan_core.errors import InputError


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("how", choices=["wait", "cancel"], help="what becomes of its jobs")
    result.add_argument("--profile", default="slurm", help="Snakemake's (default: slurm)")
    result.add_argument(
        "snakemake", nargs=argparse.REMAINDER, help="arguments for Snakemake, targets first"
    )
    return result


def main(arguments: argparse.Namespace) -> None:
    """Clear the way, then become Snakemake."""
    folder = Path.cwd().resolve()
    for process in processes_in(folder):
        # Snakemakes that jobs start for themselves are given a `--mode`.
        names = [Path(word).name for word in process.words[:3]]
        if "snakemake" in names and "--mode" not in process.words:
            raise InputError(
                f"Snakemake still runs in {folder} (process {process.number}): there is nothing "
                "to resume. If it is to be restarted, end it first, by Ctrl-C once."
            )
    # So Snakemake's executor names what it submits, and so our rules call their scripts.
    left = Leftovers(folder, comment="rule_", module="workflow_scripts.")
    if arguments.how == "cancel":
        left.cancel()
    left.wait()
    command = ["snakemake", "--profile", arguments.profile, "--rerun-incomplete"]
    command += arguments.snakemake
    subprocess.run([*command, "--unlock"], check=True, stdout=sys.stderr)
    logging.info("%s", " ".join(command))
    os.execvp(command[0], command)


if __name__ == "__main__":
    run(parser(), main)
