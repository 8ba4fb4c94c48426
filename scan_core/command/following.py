"""A training's curves in MLflow while it runs: by another process, which reads its record.

The training itself calls no tracking server: a server that is down, hangs or dies cannot slow it,
change it or end it. All that can be lost is time at its end, `GRACE_SECONDS` at the most. It does
not import the tracker either, which is started by its name: a change there retrains nothing.
"""

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from scan_core.errors import InputError
from scan_core.storage.locks import is_first_process

GRACE_SECONDS = 5.0
WHEN = ("off", "end", "live")
_FOLLOWER = "scan_core.tracking.follower"

_log = logging.getLogger(__name__)


def when() -> str:
    """When runs are recorded: `off`, `end` (after the results are made), or `live`.

    The environment's `SCAN_TRACKING` says so. The default is `end`, and `live` where
    `MLFLOW_TRACKING_URI` names a store.

    Raises:
        InputError: `SCAN_TRACKING` is something else.
    """
    default = "live" if os.environ.get("MLFLOW_TRACKING_URI") else "end"
    chosen = os.environ.get("SCAN_TRACKING") or default
    if chosen not in WHEN:
        raise InputError(f"SCAN_TRACKING: '{chosen}' is unknown; expected {', '.join(WHEN)}")
    return chosen


@contextlib.contextmanager
def followed(run: str | None, part: Path, work: Path) -> Iterator[None]:
    """Record the training inside this block in MLflow, if `SCAN_TRACKING` says `live`.

    Args:
        run: `<recipe>/<stage>/<variant>`; None: it is not recorded.
        part: file of the recipe's part, JSON.
        work: folder in which the training writes `metrics.jsonl`.

    Raises:
        InputError: `SCAN_TRACKING` is none of its values.
    """
    if run is None or not is_first_process() or when() != "live":
        yield
        return
    record = work / "metrics.jsonl"
    stale = record.stat().st_mtime_ns if record.exists() else 0
    command = [sys.executable, "-m", _FOLLOWER, run, str(record), str(stale), str(part)]
    # Its own session: Ctrl-C is for the training, whose end the closed pipe tells.
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )
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
