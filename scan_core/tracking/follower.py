"""The process that records a training while it runs; `command.following` starts it by its name."""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from threading import Event, Thread

from scan_core.command.following import GRACE_SECONDS
from scan_core.params.recipe_part import read_part
from scan_core.tracking import place
from scan_core.tracking.runs import TRAININGS, training_run


def main() -> None:
    """Follow a training until standard input is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="RECIPE/STAGE/VARIANT")
    parser.add_argument("record", type=Path, help="metrics.jsonl of the training")
    parser.add_argument("stale", type=int, help="time of change of an old record, nanoseconds")
    parser.add_argument("part", type=Path, help="JSON, of the stage")
    arguments = parser.parse_args()
    os.nice(10)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    ended = Event()
    Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
    recipe, stage, variant = arguments.run.split("/", 2)
    if stage not in TRAININGS:
        parser.error(f"stage '{stage}' is unknown; there are {', '.join(TRAININGS)}")
    logging.info("recorded while it runs: %s, at %s", arguments.run, place.shown_uri())

    from scan_core.tracking.live import follow  # imports MLflow

    run = training_run(stage, variant, read_part(arguments.part))
    follow(recipe, run, arguments.record, arguments.stale, ended)


def _wait_for_end(ended: Event) -> None:
    sys.stdin.read()
    # A training that was killed waits for nobody: then the end is here.
    signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)
    ended.set()


if __name__ == "__main__":
    main()
