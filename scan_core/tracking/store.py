"""The store: its experiment, its runs, and how long to wait for it.

Every run bears the tags `scan.key`, which names it within its recipe for ever, and `scan.origin`,
which says whose it is.
"""

import fcntl
import getpass
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    Metric,
    Param,
)
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from scan_core.params.provenance import checked_out_commit
from scan_core.tracking import place
from scan_core.tracking.datasets import DataUse
from scan_core.tracking.registry import forget_model, logged_model
from scan_core.tracking.relocation import relocate
from scan_core.tracking.runs import Run
from scan_core.tracking.views import views_of

STORE_ERRORS = (MlflowException, RequestException, SQLAlchemyError, OSError)

KEY, ORIGIN = "scan.key", "scan.origin"
IDENTITY, FINGERPRINT = "scan.identity", "scan.fingerprint"
PARENT = "mlflow.parentRunId"
_MOST_PARAMS, _MOST_METRICS = 100, 900  # in one call
_LOCK_SECONDS = 120.0
# Measured beside the numbers of the training: never compared to its record.
_MEASURED = "system/"
_CONTEXT = "mlflow.data.context"
# What SQLite says of a file that is none of its own, or no longer.
_DAMAGED = ("file is not a database", "database disk image is malformed")
_NOTE = """The recipe `{recipe}`. **Views**, above, has the columns of every grid.

Metrics of benchmarks are fractions from 0 to 1, named `<benchmark>/<metric>`: `miou`, `sg_iou`,
`miou_unseen`, ...

`evaluation`: the recipe's own settings, tables, figures, pictures. `model`: the network, for
`mlflow.pyfunc.load_model`, registered as `scan-{recipe}`. `grid`: an ablation; below it one run for
every cell and seed.
`clip`, `segmenter`, `clip_finetune`: trainings, with their curves."""


class Store:
    """Runs of one recipe, in the store that the environment names.

    Args:
        recipe: its name; the experiment is `scan/<recipe>`.

    Raises:
        MlflowException, RequestException, SQLAlchemyError, OSError: the store does not answer.
    """

    def __init__(self, recipe: str) -> None:
        self.uri = place.store_uri()
        self.origin, self.workspace = place.origin()
        self.recipe = recipe
        with locked("open"), _short_patience():  # the first use of a new file makes its tables
            if self.uri == place.default_uri():
                relocate(place.database())
            self.client = MlflowClient(tracking_uri=self.uri)
            self.experiment = self._experiment()

    def runs(self, key: str | None = None) -> dict[str, list[Any]]:
        """Key -> the runs of this origin that bear it, the newest first."""
        wanted = f"tags.`{ORIGIN}` = '{self.origin}'"
        if key is not None:
            wanted += f" AND tags.`{KEY}` = '{key}'"
        found: dict[str, list[Any]] = {}
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment], wanted, max_results=1000, page_token=token
            )
            for run in page:
                found.setdefault(run.data.tags.get(KEY, ""), []).append(run)
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
            KEY: run.key,
            ORIGIN: self.origin,
            IDENTITY: run.identity(),
            "mlflow.user": getpass.getuser(),
            "mlflow.source.type": "PROJECT",
            "mlflow.source.name": "scan-pipeline",
        }
        if self.workspace:
            tags["workspace"] = self.workspace
        if commit := checked_out_commit():
            tags |= {"git_commit": commit, "mlflow.source.git.commit": commit}
        if parent is not None:
            tags[PARENT] = parent
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

    def log_data(self, run_id: str, uses: Iterable[DataUse], model: str | None) -> None:
        """Say what a run was made with: splits of benchmarks, and the model that it evaluates."""
        inputs = [_data_input(use) for use in uses]
        models = [LoggedModelInput(model)] if model else []
        if inputs or models:
            self.client.log_inputs(run_id, inputs, models)

    def delete(self, run: Any) -> None:
        """Delete a run that another has replaced, and the model that it logged."""
        self.client.delete_run(run.info.run_id)
        if model := logged_model(run):
            forget_model(self.client, self.recipe, model)

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
            files = place.project_root() / "mlruns" / self.recipe
            try:
                made: str = self.client.create_experiment(
                    name,
                    artifact_location=None if place.is_remote() else files.as_uri(),
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


def _data_input(use: DataUse) -> DatasetInput:
    dataset = Dataset(
        name=use.benchmark,
        digest=use.digest,
        source_type="local",
        source=json.dumps({"uri": f"dataset_manifest.json#{use.benchmark}"}),
        profile=json.dumps({"images": use.profile}),
    )
    purpose = "training" if use.split == "train" else "evaluation"
    return DatasetInput(dataset, [InputTag(_CONTEXT, purpose), InputTag("split", use.split)])


@contextmanager
def locked(purpose: str) -> Iterator[None]:
    """Be the only process of this project that does something.

    Args:
        purpose: of the lock.

    Raises:
        OSError: another one does not end.
    """
    path = place.project_root() / f".mlflow.{purpose}.lock"
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
    """The first line of an error, short; of a damaged file, what to do."""
    if any(words in str(error) for words in _DAMAGED):
        file = place.store_uri().removeprefix("sqlite:///")
        return f"{file} is damaged: delete it, and every run is recorded again"
    if " failed with exception " in str(error):  # and then the whole history of a connection
        return "no answer"
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) < 160 else f"{line[:157]}..."


def milliseconds(seconds: float | None = None) -> int:
    """A time, by default now, as MLflow counts it: since 1970."""
    return round(1000 * (time.time() if seconds is None else seconds))
