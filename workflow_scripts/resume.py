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

from scan_core.command_line import run
from scan_core.orphans import Orphans


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
    orphans = Orphans(Path.cwd())
    orphans.refuse_if_alive()
    if arguments.how == "cancel":
        orphans.cancel()
    orphans.wait()
    command = ["snakemake", "--profile", arguments.profile]
    again = [*command, "--rerun-incomplete", *arguments.snakemake]
    subprocess.run([*again, "--unlock"], check=True, stdout=sys.stderr)
    logging.info("%s", " ".join(again))
    os.execvp(again[0], again)


if __name__ == "__main__":
    run(parser(), main)
