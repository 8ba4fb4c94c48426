"""A training's curves in MLflow while it runs: by another process, which reads its record.

The training itself calls no tracking server: a server that is down, hangs or dies cannot slow it,
change it or end it. All that can be lost is time at its end, `GRACE_SECONDS` at the most.
"""

import argparse
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

from scan_core.reporting.runs import TRAININGS, training_run
from scan_core.stages import parse
from scan_core.tracking import place

GRACE_SECONDS = 5.0
# How launchers number processes; only the first of a training is followed.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def followed(run: str | None, part: str, work: Path) -> Iterator[None]:
    """Record the training inside this block in MLflow, if `SCAN_TRACKING` says `live`.

    Args:
        run: `<recipe>/<stage>/<variant>`; None: it is not recorded.
        part: the recipe's part, as JSON.
        work: folder in which the training writes `metrics.jsonl`.

    Raises:
        InputError: `SCAN_TRACKING` is none of its values.
    """
    is_first = all(os.environ.get(rank, "0") == "0" for rank in _RANKS)
    if run is None or not is_first or place.when() != "live":
        yield
        return
    record = work / "metrics.jsonl"
    stale = record.stat().st_mtime_ns if record.exists() else 0
    command = [sys.executable, "-m", __name__, run, str(record), str(stale), part]
    # Its own session: Ctrl-C is for the training, whose end the closed pipe tells.
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )
    _log.info("recorded while it runs: %s, at %s", run, place.shown_uri())
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            _log.warning("not all of the training is recorded yet; mlflow_sync does it afterwards")


def main() -> None:
    """Follow a training until standard input is closed; for `followed`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="RECIPE/STAGE/VARIANT")
    parser.add_argument("record", type=Path, help="metrics.jsonl of the training")
    parser.add_argument("stale", type=int, help="time of change of an old record, nanoseconds")
    parser.add_argument("part", help="JSON, of the stage")
    arguments = parser.parse_args()
    os.nice(10)
    ended = Event()
    Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
    recipe, stage, variant = arguments.run.split("/", 2)
    if stage not in TRAININGS:
        parser.error(f"stage '{stage}' is unknown; there are {', '.join(TRAININGS)}")

    from scan_core.tracking.live import follow  # imports MLflow

    run = training_run(stage, variant, parse(arguments.part))
    follow(recipe, run, arguments.record, arguments.stale, ended)


def _wait_for_end(ended: Event) -> None:
    sys.stdin.read()
    # A training that was killed waits for nobody: then the end is here.
    signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)
    ended.set()


if __name__ == "__main__":
    main()
