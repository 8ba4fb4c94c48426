"""Runs in MLflow: what was made, recorded once each, and trainings while they go on.

The only module that calls MLflow. What is recorded is described by `scan_core.reporting.runs`;
where, by `scan_core.tracking_store`. Every run bears the tag `scan.key`. A result that did not
change is not written again; one that did replaces its run; a run that a training began is
completed. So the newest is right, and nothing is listed twice.
"""

import fcntl
import getpass
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Any

from scan_core import tracking_store
from scan_core.errors import InputError
from scan_core.provenance import checked_out_commit
from scan_core.reporting.runs import Run
from scan_core.tracking_views import views_of

# MLflow's defaults would hold a process for minutes at a server that is gone, report to its makers,
# and print where every run can be seen.
for _name, _value in {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
}.items():
    os.environ.setdefault(_name, _value)

from mlflow.entities import Metric, Param, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402
from requests import RequestException  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

STORE_ERRORS = (MlflowException, RequestException, SQLAlchemyError, OSError)

_KEY, _ORIGIN = "scan.key", "scan.origin"
_IDENTITY, _FINGERPRINT = "scan.identity", "scan.fingerprint"
_PARENT = "mlflow.parentRunId"
_MOST_PARAMS, _MOST_METRICS = 100, 900  # in one call
_LOCK_SECONDS = 120.0
_FOLLOW_SECONDS = 2.0
# Measured beside the numbers of the training: never compared to its record.
_MEASURED = "system/"
_MODEL_PACKAGES = (
    *("numpy", "open_clip_torch", "pillow", "pydantic", "requests", "ruamel.yaml"),
    *("safetensors", "scipy", "torch", "torchvision", "tqdm", "transformers"),
)
_NOTE = """The recipe `{recipe}`. **Views**, above, has the columns of every grid.

Metrics of benchmarks are fractions from 0 to 1, named `<benchmark>/<metric>`: `miou`, `sg_iou`,
`miou_unseen`, ...

`evaluation`: the recipe's own settings, tables, figures, pictures. `model`: the network, for
`mlflow.pyfunc.load_model`. `grid`: an ablation; below it one run for every cell and seed.
`clip`, `segmenter`, `clip_finetune`: trainings, with their curves."""


class Store:
    """Runs of one recipe, in the store that the environment names.

    Args:
        recipe: its name; the experiment is `scan/<recipe>`.

    Raises:
        MlflowException, RequestException, SQLAlchemyError, OSError: the store does not answer.
    """

    def __init__(self, recipe: str) -> None:
        self.uri = tracking_store.store_uri()
        self.origin, self.workspace = tracking_store.origin()
        self.recipe = recipe
        with locked("open"), _short_patience():  # the first use of a new file makes its tables
            self.client = MlflowClient(tracking_uri=self.uri)
            self.experiment = self._experiment()

    def runs(self, key: str | None = None) -> dict[str, list[Any]]:
        """Key -> the runs of this origin that bear it, the newest first."""
        wanted = f"tags.`{_ORIGIN}` = '{self.origin}'"
        if key is not None:
            wanted += f" AND tags.`{_KEY}` = '{key}'"
        found: dict[str, list[Any]] = {}
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment], wanted, max_results=1000, page_token=token
            )
            for run in page:
                found.setdefault(run.data.tags.get(_KEY, ""), []).append(run)
            token = page.token
            if not token:
                return found

    def begin(self, run: Run, start: int, parent: str | None = None) -> str:
        """Create a run, without numbers; its id.

        Args:
            run: that was or is being done.
            start: milliseconds since 1970.
            parent: id of the run above it.
        """
        tags = {
            **run.tags,
            "recipe": self.recipe,
            _KEY: run.key,
            _ORIGIN: self.origin,
            _IDENTITY: run.identity(),
            "mlflow.user": getpass.getuser(),
            "mlflow.source.type": "PROJECT",
            "mlflow.source.name": "scan-pipeline",
        }
        if self.workspace:
            tags["workspace"] = self.workspace
        if commit := checked_out_commit():
            tags |= {"git_commit": commit, "mlflow.source.git.commit": commit}
        if parent is not None:
            tags[_PARENT] = parent
        made = self.client.create_run(
            self.experiment, start_time=start, tags=tags, run_name=run.name
        )
        run_id: str = made.info.run_id
        params = [Param(key, value) for key, value in run.params.items()]
        for first in range(0, len(params), _MOST_PARAMS):
            self.client.log_batch(run_id, params=params[first : first + _MOST_PARAMS])
        return run_id

    def log(self, run_id: str, metrics: list[Metric]) -> None:
        """Add measurements to a run, many in a call."""
        for first in range(0, len(metrics), _MOST_METRICS):
            self.client.log_batch(run_id, metrics=metrics[first : first + _MOST_METRICS])

    def points(self, run: Any) -> dict[tuple[str, int], float]:
        """(quantity, step) -> value, of all that a run of the store has, but what was measured."""
        return {
            (point.key, point.step): point.value
            for name in run.data.metrics
            if not name.startswith(_MEASURED)
            for point in self.client.get_metric_history(run.info.run_id, name)
        }

    def save_views(self, run: Run) -> None:
        """Offer a grid's columns on the experiment's page."""
        tags = self.client.get_experiment(self.experiment).tags
        for key, value in views_of(run).items():
            if tags.get(key) != value:
                self.client.set_experiment_tag(self.experiment, key, value)

    def _experiment(self) -> str:
        name = f"scan/{self.recipe}"
        found = self.client.get_experiment_by_name(name)
        if found is None:
            place = tracking_store.project_root() / "mlruns" / self.recipe
            try:
                made: str = self.client.create_experiment(
                    name,
                    artifact_location=None if tracking_store.is_remote() else place.as_uri(),
                    tags={
                        "mlflow.note.content": _NOTE.format(recipe=self.recipe),
                        "mlflow.experimentKind": "custom_model_development",
                    },
                )
                return made
            except MlflowException:
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise  # not because another process was faster
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        experiment: str = found.experiment_id
        return experiment


def sync(recipe: str, runs: Iterable[Run]) -> dict[str, str]:
    """Record runs that are complete, each once.

    Args:
        recipe: its name.
        runs: from `runs_of`.

    Returns:
        key of each run -> its id in the store.

    Raises:
        InputError: a file of the results is missing.
        MlflowException, RequestException, SQLAlchemyError, OSError: the store does not answer.
    """
    with locked("sync"):
        store = Store(recipe)
        existing = store.runs()
        recorded: dict[str, str] = {}
        for run in runs:
            _record(store, run, existing, recorded)
            store.save_views(run)
    return recorded


def _record(
    store: Store,
    run: Run,
    existing: dict[str, list[Any]],
    recorded: dict[str, str],
    parent: str | None = None,
) -> None:
    candidates = existing.pop(run.key, [])
    fingerprint = run.fingerprint()
    kept = next((c for c in candidates if c.data.tags.get(_FINGERPRINT) == fingerprint), None)
    if kept is None:
        begun = next((c for c in candidates if _is_begun(store, c, run)), None)
        run_id = _complete(store, run, begun, fingerprint, parent)
    else:
        run_id = kept.info.run_id
        if parent is not None and kept.data.tags.get(_PARENT) != parent:
            store.client.set_tag(run_id, _PARENT, parent)
    for other in candidates:
        if other.info.run_id != run_id:
            store.client.delete_run(other.info.run_id)
    recorded[run.key] = run_id
    for child in run.children:
        _record(store, child, existing, recorded, run_id)
    if run.children:  # cells that the grid no longer has
        for key in [key for key in existing if key.startswith(f"{run.key}/")]:
            for old in existing.pop(key):
                store.client.delete_run(old.info.run_id)


def _is_begun(store: Store, candidate: Any, run: Run) -> bool:
    """Whether a run of the store is this one, unfinished: nothing in it differs from the record."""
    tags = candidate.data.tags
    if _FINGERPRINT in tags or tags.get(_IDENTITY) != run.identity():
        return False
    expected = _points(run)
    return all(
        point in expected and _same(expected[point], value)
        for point, value in store.points(candidate).items()
    )


def _complete(
    store: Store, run: Run, begun: Any | None, fingerprint: str, parent: str | None
) -> str:
    """Write a run, or what is missing of one that was begun; its id."""
    measured = run.measured()
    if begun is None:
        end = _milliseconds(run.resources.stat().st_mtime if run.resources and measured else None)
        start = end - round(1000 * measured.get("system/job/seconds", 0))
        run_id, there = store.begin(run, start, parent), {}
    else:
        run_id, there = begun.info.run_id, store.points(begun)
        start = begun.info.start_time
        end = begun.info.end_time or _milliseconds()
    last = max((step for _, step in _points(run)), default=0) or 1
    metrics = [
        Metric(name, value, start + (end - start) * step // last, step)
        for (name, step), value in _points(run).items()
        if (name, step) not in there
    ]
    store.log(run_id, [*metrics, *(Metric(name, v, end, 0) for name, v in measured.items())])
    if run.files or run.texts:
        with tempfile.TemporaryDirectory() as folder:
            _lay_out(run, Path(folder))
            store.client.log_artifacts(run_id, folder)
    if run.model is not None:
        _log_model(store, run_id, run.model)
    # The tags last: a run without the fingerprint is one to be completed.
    tags = {**run.tags, _FINGERPRINT: fingerprint}
    store.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    store.client.set_terminated(run_id, "FINISHED", end)
    return run_id


def _points(run: Run) -> dict[tuple[str, int], float]:
    points = {(name, 0): value for name, value in run.metrics.items()}
    for name, curve in run.curves.items():
        points |= {(name, step): value for step, value in curve.items()}
    return points


def _lay_out(run: Run, folder: Path) -> None:
    for path, file in run.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(file, folder / path)
        except FileNotFoundError:
            raise InputError(f"{file} does not exist; make it again") from None
    for path, text in run.texts.items():
        (folder / path).write_text(text, encoding="utf-8")


def _log_model(store: Store, run_id: str, checkpoint: Path) -> None:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Schema

    package = Path(__file__).parent
    takes = Schema([ColSpec(AnyType(), "image"), ColSpec(Array(DataType.string), "class_names")])
    mlflow.set_tracking_uri(store.uri)
    with (
        tempfile.TemporaryDirectory() as folder,
        mlflow.start_run(run_id=run_id, log_system_metrics=False),
    ):
        code = shutil.copytree(
            package, Path(folder) / package.name, ignore=shutil.ignore_patterns("__pycache__")
        )
        mlflow.pyfunc.log_model(
            name="scan",
            loader_module="scan_core.inference.pyfunc",
            data_path=str(checkpoint),
            code_paths=[str(code)],
            pip_requirements=[
                f"{name}=={version(name).partition('+')[0]}" for name in _MODEL_PACKAGES
            ],
            signature=ModelSignature(inputs=takes),
        )


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
                    f"warning: {tracking_store.shown_uri()} does not record: {spoken(error)}; "
                    "the training goes on, and mlflow_sync records it afterwards",
                    file=sys.stderr,
                )
        if last:
            return


class _Follower:
    """A run that a training goes on in."""

    def __init__(self, store: Store, run: Run) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self.store = store
        found = [
            candidate
            for candidate in store.runs(run.key).get(run.key, [])
            if _FINGERPRINT not in candidate.data.tags
            and candidate.data.tags.get(_IDENTITY) == run.identity()
        ]
        if found:  # of a training that was stopped and now continues
            self.run_id: str = found[0].info.run_id
            self.logged = store.points(found[0])
            store.client.update_run(self.run_id, status="RUNNING")
        else:
            self.run_id = store.begin(run, _milliseconds())
            self.logged = {}
        self.monitor = SystemMetricsMonitor(
            self.run_id, resume_logging=bool(found), tracking_uri=store.uri
        )
        self.monitor.start()

    def log(self, text: str) -> None:
        """Add what is new in the record."""
        metrics, now = [], _milliseconds()
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


@contextmanager
def locked(purpose: str) -> Iterator[None]:
    """Be the only process of this project that does something.

    Args:
        purpose: of the lock.

    Raises:
        OSError: another one does not end.
    """
    path = tracking_store.project_root() / f".mlflow.{purpose}.lock"
    with path.open("w") as file:
        until = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError(f"another process holds {path}") from None
                time.sleep(0.1)
        yield


@contextmanager
def _short_patience() -> Iterator[None]:
    """Take a server that does not answer at once for one that does not answer."""
    patience = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    before = {name: os.environ[name] for name in patience}
    os.environ.update(patience)
    try:
        yield
    finally:
        os.environ.update(before)


def spoken(error: Exception) -> str:
    """The first line of an error, short."""
    if " failed with exception " in str(error):  # and then the whole history of a connection
        return "no answer"
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) < 160 else f"{line[:157]}..."


def _milliseconds(seconds: float | None = None) -> int:
    return round(1000 * (time.time() if seconds is None else seconds))


def _same(first: float, second: float) -> bool:
    return first == second or (math.isnan(first) and math.isnan(second))
