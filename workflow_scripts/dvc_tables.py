"""What the one stage of dvc.yaml runs: the workflow, and a check that nothing changed meanwhile."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tyro.conf import Positional

from scan_core.errors import InputError
from scan_core.params.command_line import run
from scan_core.params.reading import SNAPSHOT_VARIABLE, snapshot_params
from scan_core.storage.files import file_digest

PARAMS = Path("params.yaml")
CODE = ["Snakefile", "rules/*.smk", "workflow_scripts/*.py"]
CODE += [f"scan_core/**/*.{kind}" for kind in ("py", "json", "csv", "yaml", "jinja")]


def dvc_tables(targets: Positional[list[str]]) -> None:
    """Run Snakemake with SNAKEMAKE_PROFILE (default: local) on a snapshot of params.yaml.

    DVC records the contents of params.yaml and of the code as they are when the stage has ended.
    What was edited during the run would be recorded as what the results were made with, so such a
    run fails.

    Args:
        targets: of Snakemake, such as all.
    """
    _check_place()
    snapshot, code = _state()
    profile = os.environ.get("SNAKEMAKE_PROFILE", "local")
    process = subprocess.Popen(["snakemake", "--profile", profile, "--", *targets])
    # Ctrl-C reaches Snakemake by itself, and it needs time to stop its jobs.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
    if status := process.wait():
        sys.exit(status if status > 0 else 128 - status)
    snapshot_now, code_now = _state()
    changed = [str(PARAMS)] * (snapshot_now != snapshot) + ["the code"] * (code_now != code)
    if changed:
        what = f"{' and '.join(changed)} changed during the run. The results are those of before"
        why = "DVC would record them as those of now, so nothing is recorded"
        raise InputError(f"{what}, and {why}. Run `dvc repro` again.")


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


def _state() -> tuple[Path, dict[str, str]]:
    """A snapshot of params.yaml, which the workflow then reads instead, and digests of the code."""
    os.environ.pop(SNAPSHOT_VARIABLE, None)
    files = {file for pattern in CODE for file in Path().glob(pattern)}
    return snapshot_params(PARAMS), {str(file): file_digest(file) for file in files}


if __name__ == "__main__":
    run(dvc_tables)
