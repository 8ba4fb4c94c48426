"""The curves of a training in MLflow while it runs.

A thread of the training logs them, as well as the store lets it: the training never waits for the
store, but for a few seconds at its end. `sync` adds afterwards what is missing.
"""

import logging
import os
import platform
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from scan_core.params.recipe_part import read_part
from scan_core.tracking.store import open_store, origin, reason, shown_uri, when

Record = Callable[[int, Mapping[str, float]], None]

_INTERVAL = 2.0  # seconds between two requests
_PATIENCE = 5.0  # seconds: of a request, and of the training at its end

_log = logging.getLogger(__name__)


@contextmanager
def live_run(run: str | None, part: Path, work: Path) -> Iterator[Record]:
    """Record the training inside this block, if `SCAN_TRACKING` says `live`.

    Args:
        run: `<recipe>/<stage>/<variant>`; None: the training is not recorded.
        part: JSON file of the stage's part of the recipe.
        work: folder of the training's checkpoints: if it has a record, the training goes on.

    Yields:
        a function that takes a step and its values, and returns at once.

    Raises:
        InputError: `SCAN_TRACKING` has an unknown value.
    """
    ranks = (os.environ.get(name, "0") for name in ("SLURM_PROCID", "RANK", "LOCAL_RANK"))
    if run is None or any(rank != "0" for rank in ranks) or when() != "live":
        yield lambda step, values: None
        return
    points: queue.SimpleQueue[Any] = queue.SimpleQueue()
    arguments = (run, part, (work / "metrics.jsonl").exists(), points)
    thread = threading.Thread(target=_log_points, args=arguments, daemon=True)
    thread.start()
    _log.info("MLflow shows the run %s while it runs, in %s", run, shown_uri())
    status = "KILLED"
    try:
        yield lambda step, values: points.put((step, time.time(), dict(values)))
        status = "FINISHED"
    finally:
        points.put(status)
        thread.join(_PATIENCE)
        if thread.is_alive():
            _log.warning("MLflow does not have the whole training yet; mlflow_sync completes it")


def _log_points(run: str, part: Path, resumed: bool, points: "queue.SimpleQueue[Any]") -> None:
    live, waiting, status, warned = None, list[Any](), "", False
    while True:
        try:
            live = live or _LiveRun(run, part, resumed)
            live.log(waiting)
            waiting.clear()
            if status:
                live.end(status)
        except Exception as error:  # the store, its database, the network: none ends a training
            if not warned:
                warned = True
                _log.warning(
                    "%s does not answer (%s); the training goes on, and mlflow_sync records it "
                    "afterwards",
                    shown_uri(),
                    reason(error),
                )
        if status:
            return
        status = _collect(points, waiting)


def _collect(points: "queue.SimpleQueue[Any]", waiting: list[Any]) -> str:
    """Add what comes within the interval; the status, if the training has ended."""
    until = time.monotonic() + _INTERVAL
    with suppress(queue.Empty):
        while not isinstance(point := points.get(timeout=max(0, until - time.monotonic())), str):
            waiting.append(point)
        return point
    return ""


class _LiveRun:
    """A run of the store that a training logs to."""

    def __init__(self, run: str, part: Path, resumed: bool) -> None:
        import torch
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        from scan_core.tracking.runs import training_run
        from scan_core.tracking.sync import DIGEST, KEY, ORIGIN, begin, recorded_points

        recipe, stage, variant = run.split("/", 2)
        self.client, experiment = open_store(recipe, timeout=round(_PATIENCE), retries=0)
        wanted = f"tags.`{KEY}` = '{stage}/{variant}' AND tags.`{ORIGIN}` = '{origin()}'"
        begun = [
            r for r in self.client.search_runs([experiment], wanted) if DIGEST not in r.data.tags
        ]
        if begun and resumed:
            self.run_id = begun[0].info.run_id
            self.known = set(recorded_points(self.client, begun[0]))
            self.client.update_run(self.run_id, status="RUNNING")
        else:
            where = {"machine": platform.node(), "threads": str(torch.get_num_threads())}
            described = training_run(stage, variant, read_part(part).model_dump(), where)
            self.run_id = begin(self.client, experiment, recipe, described, time.time())
            self.known = set()
        self.monitor = SystemMetricsMonitor(self.run_id, resume_logging=bool(self.known))
        self.monitor.start()

    def log(self, points: list[tuple[int, float, dict[str, float]]]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, round(1000 * when), step)
            for step, when, values in points
            for name, value in values.items()
            if (name, step) not in self.known
        ]
        self.client.log_batch(self.run_id, metrics=metrics)
        self.known |= {(metric.key, metric.step) for metric in metrics}

    def end(self, status: str) -> None:
        self.monitor.finish()
        self.client.set_terminated(self.run_id, status)
