"""Record the runs of a recipe in MLflow, each once.

A run whose results have not changed is left alone; another one is deleted and written again. What a
training has recorded while it ran is completed.
"""

import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from scan_core.errors import InputError
from scan_core.storage.files import json_digest, read_json
from scan_core.tracking.runs import Results, Run, runs_of
from scan_core.tracking.store import open_store, origin, user, workspace

STORE_ERRORS = (MlflowException, RequestException, SQLAlchemyError)
KEY, ORIGIN, DIGEST, PARENT = "scan.key", "scan.origin", "scan.digest", "mlflow.parentRunId"
_MODEL_PACKAGES = (
    *("numpy", "open_clip_torch", "pillow", "pydantic", "requests", "ruamel.yaml"),
    *("safetensors", "scipy", "torch", "torchvision", "tqdm"),
)


def sync(results: Results) -> dict[str, str]:
    """Record what is not recorded yet.

    Returns:
        key of each run -> its id in the store.

    Raises:
        InputError: a file of the results is missing or damaged.
        STORE_ERRORS: the store does not answer.
    """
    runs = runs_of(results)
    client, experiment = open_store(results.recipe)
    synchronisation = _Sync(client, experiment, results)
    for run in runs:
        synchronisation.record(run)
    return synchronisation.recorded


def begin(
    client: MlflowClient, experiment: str, recipe: str, run: Run, start: float, parent: str = ""
) -> str:
    """Create a run with its parameters and without numbers.

    Args:
        start: seconds since the epoch.
        parent: id of the run above it.

    Returns:
        its id.
    """
    tags = {
        **run.all_tags,
        **{"recipe": recipe, KEY: run.key, ORIGIN: origin(), "mlflow.user": user()},
        **{"mlflow.source.type": "PROJECT", "mlflow.source.name": "scan-pipeline"},
        **({"workspace": workspace()} if workspace() else {}),
        **({PARENT: parent} if parent else {}),
    }
    made = client.create_run(experiment, round(1000 * start), tags, run.name)
    client.log_batch(made.info.run_id, params=[Param(k, v) for k, v in run.params.items()])
    return str(made.info.run_id)


def recorded_points(client: MlflowClient, run: Any) -> dict[tuple[str, int], float]:
    """(quantity, step) -> value of what a run of the store has; without the system's metrics."""
    return {
        (point.key, point.step): point.value
        for name in run.data.metrics
        if not name.startswith("system/")
        for point in client.get_metric_history(run.info.run_id, name)
    }


class _Sync:
    """Runs of a recipe in the store."""

    def __init__(self, client: MlflowClient, experiment: str, results: Results) -> None:
        self.client, self.experiment, self.results = client, experiment, results
        self.manifest = read_json(results.manifest, "make it again")
        self.recorded: dict[str, str] = {}
        self.existing: dict[str, list[Any]] = {}
        wanted = f"tags.`{ORIGIN}` = '{origin()}'"
        for run in mlflow.search_runs([experiment], wanted, output_format="list"):
            self.existing.setdefault(run.data.tags[KEY], []).append(run)

    def record(self, run: Run, parent: str = "") -> None:
        """Record a run and its children."""
        model = self._logged_model(self.recorded[run.model_of]) if run.model_of else None
        tags = {"dataset_manifest": str(self.manifest["hash"])}
        digest = json_digest([run.digest(), tags, model])
        candidates = self.existing.pop(run.key, [])
        kept = next((c for c in candidates if c.data.tags.get(DIGEST) == digest), None)
        if kept is None:
            kept = next((c for c in candidates if self._was_live(c, run)), None)
            run_id = self._write(run, kept, parent, model, {**tags, DIGEST: digest})
        else:
            run_id = kept.info.run_id
            if parent and kept.data.tags.get(PARENT) != parent:
                self.client.set_tag(run_id, PARENT, parent)
        self.recorded[run.key] = run_id
        if run.model:
            self._set_alias(run_id)
        for child in run.children:
            self.record(child, run_id)
        stale = [c for c in candidates if c.info.run_id != run_id]
        if run.children:  # cells that the grid no longer has
            for key in [key for key in self.existing if key.startswith(f"{run.key}/")]:
                stale += self.existing.pop(key)
        for old in stale:
            self._delete(old)

    def _logged_model(self, run_id: str) -> str | None:
        """Id of the model that a run has logged."""
        outputs = self.client.get_run(run_id).outputs
        return outputs.model_outputs[0].model_id if outputs and outputs.model_outputs else None

    def _was_live(self, candidate: Any, run: Run) -> bool:
        """Whether a run was begun by a training whose result this is."""
        if DIGEST in candidate.data.tags:
            return False
        points = recorded_points(self.client, candidate)
        return all(run.curves.get(key) == value for key, value in points.items())

    def _write(
        self, run: Run, begun: Any, parent: str, model: str | None, tags: Mapping[str, str]
    ) -> str:
        """Write a run, or what is missing of one that was begun; its id."""
        client, end = self.client, run.ended or time.time()
        if begun is None:
            start, there = end - run.seconds, {}
            run_id = begin(client, self.experiment, self.results.recipe, run, start, parent)
        else:
            run_id, there = begun.info.run_id, recorded_points(client, begun)
            start = begun.info.start_time / 1000
        inputs = [self._dataset(name, split) for name, split in run.data.items()]
        for name, sha256 in run.weights.items():  # MLflow keeps 36 characters of a digest
            as_weights = {"mlflow.data.context": "weights"}
            inputs.append(_input(name, sha256[:36], {"sha256": sha256}, as_weights))
        client.log_inputs(run_id, inputs, [LoggedModelInput(model)] if model else [])
        last = max((step for _, step in run.curves), default=0) or 1
        metrics = [
            Metric(name, value, round(1000 * (start + (end - start) * step / last)), step)
            for (name, step), value in run.curves.items()
            if (name, step) not in there
        ]
        for name, value in run.metrics.items():
            benchmark = name.partition("/")[0]
            about = (model, benchmark, self.manifest["hash"]) if benchmark in run.data else ()
            metrics.append(Metric(name, value, round(1000 * end), 0, *about))
        client.log_batch(run_id, metrics=metrics)
        for path, table in run.tables.items():
            client.log_table(run_id, pd.read_csv(table), path)
        for folder, file in run.files():
            client.log_artifact(run_id, str(file), folder or None)
        for path, document in run.documents.items():
            client.log_dict(run_id, document, path)
        if run.model:
            self._log_model(run_id, run.model)
        # The digest comes last: a run without it is written again.
        every = {**run.all_tags, **tags}
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in every.items()])
        client.set_terminated(run_id, "FINISHED", round(1000 * end))
        return run_id

    def _dataset(self, benchmark: str, split: str) -> DatasetInput:
        try:
            splits = self.manifest["benchmarks"][benchmark]["splits"]
            profile = {"images": {name: about["images"] for name, about in splits.items()}}
        except (KeyError, TypeError):
            raise InputError(f"{self.results.manifest} lacks {benchmark}; make it again") from None
        source = {"uri": str(self.results.manifest)}
        context = "training" if split == "train" else "evaluation"
        tags = {"mlflow.data.context": context, "split": split}
        return _input(benchmark, self.manifest["hash"], source, tags, json.dumps(profile))

    def _log_model(self, run_id: str, checkpoint: Path) -> None:
        """Log and register a model with its code and requirements."""
        from mlflow.models import ModelSignature
        from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Schema

        package = Path(__file__).parents[1]
        names = ColSpec(Array(DataType.string), "class_names")
        with tempfile.TemporaryDirectory() as folder:
            ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
            code = shutil.copytree(package, Path(folder) / package.name, ignore=ignored)
            os.environ["MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"] = "false"
            with mlflow.start_run(run_id):
                mlflow.pyfunc.log_model(
                    name="scan",
                    loader_module="scan_core.tracking.pyfunc",
                    data_path=str(checkpoint),
                    code_paths=[str(code)],
                    pip_requirements=[
                        f"{name}=={version(name).partition('+')[0]}" for name in _MODEL_PACKAGES
                    ],
                    signature=ModelSignature(inputs=Schema([ColSpec(AnyType(), "image"), names])),
                    registered_model_name=self._registered,
                )

    @property
    def _registered(self) -> str:
        return f"scan-{self.results.recipe}"

    def _set_alias(self, run_id: str) -> None:
        """Let the alias `current`, in a shared store `current-<origin>`, point to a run's model."""
        alias = f"current-{origin()}" if workspace() else "current"
        versions = self.client.search_model_versions(f"run_id = '{run_id}'")
        known = self.client.get_registered_model(self._registered).aliases.get(alias)
        if versions and known != versions[0].version:
            self.client.set_registered_model_alias(self._registered, alias, versions[0].version)

    def _delete(self, run: Any) -> None:
        """Delete a run that another one has replaced, and the model that it logged."""
        run_id = run.info.run_id
        self.client.delete_run(run_id)
        if run.data.tags["stage"] == "model":
            for old in self.client.search_model_versions(f"run_id = '{run_id}'"):
                self.client.delete_model_version(old.name, old.version)
            if model := self._logged_model(run_id):
                self.client.delete_logged_model(model)
        logging.info("%s is replaced", run.info.run_name)


def _input(
    name: str,
    digest: str,
    source: Mapping[str, str],
    tags: Mapping[str, str],
    profile: str | None = None,
) -> DatasetInput:
    """A data set or a file of weights that a run depends on."""
    dataset = Dataset(name, digest, "local", json.dumps(source), profile=profile)
    return DatasetInput(dataset, [InputTag(key, value) for key, value in tags.items()])
