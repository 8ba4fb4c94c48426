"""A training, recorded while it goes on."""

import json
import sys
from pathlib import Path
from threading import Event

from mlflow.entities import Metric
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from scan_core.tracking import place
from scan_core.tracking.runs import Run
from scan_core.tracking.store import (
    FINGERPRINT,
    IDENTITY,
    STORE_ERRORS,
    Store,
    milliseconds,
    spoken,
)

_FOLLOW_SECONDS = 2.0


def follow(recipe: str, run: Run, record: Path, stale: int, ended: Event) -> None:
    """Record a training while it goes on, as well as the store lets us.

    What is missing in the end, `sync` adds. A store that does not answer is tried again.

    Args:
        recipe: its name.
        run: the training, without numbers.
        record: its `metrics.jsonl`.
        stale: time of change, in nanoseconds, of a record that an earlier training left.
        ended: set when the training has ended.
    """
    follower: _Follower | None = None
    warned = False
    while True:
        last = ended.wait(_FOLLOW_SECONDS)
        try:
            follower = follower or _Follower(Store(recipe), run)
            if record.exists() and record.stat().st_mtime_ns != stale:
                follower.log(record.read_text(encoding="utf-8"))
            if last:
                follower.end()
        except STORE_ERRORS as error:
            if not warned:
                warned = True
                print(
                    f"warning: {place.shown_uri()} does not record: {spoken(error)}; "
                    "the training goes on, and mlflow_sync records it afterwards",
                    file=sys.stderr,
                )
        if last:
            return


class _Follower:
    """A run that a training goes on in."""

    def __init__(self, store: Store, run: Run) -> None:
        self.store = store
        found = [
            candidate
            for candidate in store.runs(run.key).get(run.key, [])
            if FINGERPRINT not in candidate.data.tags
            and candidate.data.tags.get(IDENTITY) == run.identity()
        ]
        if found:  # of a training that was stopped and now continues
            self.run_id: str = found[0].info.run_id
            self.logged = store.points(found[0])
            store.client.update_run(self.run_id, status="RUNNING")
        else:
            self.run_id = store.begin(run, milliseconds())
            self.logged = {}
        self.monitor = SystemMetricsMonitor(
            self.run_id, resume_logging=bool(found), tracking_uri=store.uri
        )
        self.monitor.start()

    def log(self, text: str) -> None:
        """Add what is new in the record."""
        metrics, now = [], milliseconds()
        for line in text.splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                break  # being written
            step = row.pop("step")
            for name, value in row.items():
                if (name, step) not in self.logged:
                    metrics.append(Metric(name, value, now, step))
        self.store.log(self.run_id, metrics)
        self.logged |= {(metric.key, metric.step): metric.value for metric in metrics}

    def end(self) -> None:
        """The training has ended; whether well, its result tells."""
        self.store.client.set_terminated(self.run_id)
