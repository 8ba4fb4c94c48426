"""What the one stage of dvc.yaml runs: the workflow, and a check that nothing changed meanwhile.

DVC records the contents of params.yaml and of the code as they are when the stage has ended. What
was edited during the run would be recorded as what the results were made with, so such a run fails.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from scan_core.command.command_line import run
from scan_core.command.inheritance import inherit
from scan_core.errors import InputError
from scan_core.params.layout import restored
from scan_core.params.reading import SNAPSHOT_VARIABLE, snapshot_params
from scan_core.provenance.source_hash import files_hash
from scan_core.storage.atomic import write_text

PARAMS = Path("params.yaml")
CODE = (
    *("Snakefile", "rules/*.smk", "workflow_scripts/*.py"),
    *(f"scan_core/**/*.{kind}" for kind in ("py", "json", "csv")),
)


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("targets", nargs="+", help="of Snakemake, such as all")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Run Snakemake with SNAKEMAKE_PROFILE (default: local) on a snapshot, then check."""
    _check_place()
    _put_layout_back()
    workspace = Path(os.environ.get("DVC_ROOT") or Path.cwd())
    if not workspace.samefile(Path.cwd()) and inherit(workspace, Path.cwd()):
        logging.info("data and results of %s are taken over", workspace)
    snapshot, code = _state()
    profile = os.environ.get("SNAKEMAKE_PROFILE", "local")
    process = subprocess.Popen(["snakemake", "--profile", profile, "--", *arguments.targets])

    def pass_on(number: int, _: FrameType | None) -> None:
        process.send_signal(number)

    # Ctrl-C reaches Snakemake by itself, and it needs time to stop its jobs.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, pass_on)
    if status := process.wait():
        sys.exit(status if status > 0 else 128 - status)
    snapshot_now, code_now = _state()
    changed = [str(PARAMS)] if snapshot_now != snapshot else []
    changed += ["the code"] if code_now != code else []
    if changed:
        raise InputError(
            f"{' and '.join(changed)} changed during the run. The results are those of before, and "
            "DVC would record them as those of now, so nothing is recorded. Run `dvc repro` again."
        )


def _check_place() -> None:
    """Refuse at once what DVC refuses at the end: outputs behind a link to another place."""
    here, results = Path.cwd().resolve(), Path("results")
    for folder in (results, *results.glob("*")):
        if not folder.resolve().is_relative_to(here):
            raise InputError(
                f"{folder} leads to {folder.resolve()}, outside of the repository, where DVC keeps "
                "nothing. Make it a folder (`data` may be a link), or run "
                "`snakemake --profile local all`, which needs no DVC"
            )


def _put_layout_back() -> None:
    """Of params.yaml as `dvc exp run -S` has just written it, with the values that it wrote."""
    shown = subprocess.run(["git", "show", f"HEAD:./{PARAMS}"], capture_output=True, text=True)
    if shown.returncode == 0 and (text := restored(shown.stdout, PARAMS.read_text("utf-8"))):
        write_text(PARAMS, text)


def _state() -> tuple[Path, str]:
    """A snapshot of params.yaml, which the workflow then reads instead, and a hash of the code."""
    os.environ.pop(SNAPSHOT_VARIABLE, None)
    files = {file for pattern in CODE for file in Path().glob(pattern)}
    return snapshot_params(PARAMS), files_hash(Path(), files)


if __name__ == "__main__":
    run(parser(), main)
