"""Results that are complete, recorded once each.

A result that did not change is not written again; one that did replaces its run; a run that a
training began is completed. So the newest is right, and nothing is listed twice.
"""

import math
import shutil
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, RunTag

from scan_core.errors import InputError
from scan_core.tracking.registry import alias, input_models, logged_model, register
from scan_core.tracking.runs import Run
from scan_core.tracking.store import FINGERPRINT, IDENTITY, PARENT, Store, locked, milliseconds

_MODEL_PACKAGES = (
    *("numpy", "open_clip_torch", "pillow", "pydantic", "requests", "ruamel.yaml"),
    *("safetensors", "scipy", "torch", "torchvision", "tqdm"),
)


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
    model = _model_of(store, run, recorded)
    kept = next((c for c in candidates if _is_complete(store, c, fingerprint, model)), None)
    if kept is None:
        begun = next((c for c in candidates if _is_begun(store, c, run)), None)
        run_id = _complete(store, run, begun, fingerprint, parent, model)
    else:
        run_id = kept.info.run_id
        if parent is not None and kept.data.tags.get(PARENT) != parent:
            store.client.set_tag(run_id, PARENT, parent)
    for other in candidates:
        if other.info.run_id != run_id:
            store.delete(other)
    recorded[run.key] = run_id
    if run.model is not None and (own := logged_model(store.client.get_run(run_id))):
        register(store.client, store.recipe, run_id, own, alias(store.origin, store.workspace))
    for child in run.children:
        _record(store, child, existing, recorded, run_id)
    if run.children:  # cells that the grid no longer has
        for key in [key for key in existing if key.startswith(f"{run.key}/")]:
            for old in existing.pop(key):
                store.delete(old)


def _is_complete(store: Store, candidate: Any, fingerprint: str, model: str | None) -> bool:
    """Whether a run of the store has everything, and is of the model that is there now."""
    if candidate.data.tags.get(FINGERPRINT) != fingerprint:
        return False
    # What a search finds does not hold the models that were evaluated.
    return model is None or model in input_models(store.client.get_run(candidate.info.run_id))


def _model_of(store: Store, run: Run, recorded: dict[str, str]) -> str | None:
    """Id of the logged model that a run's metrics are of."""
    if run.model_of is None or run.model_of not in recorded:
        return None
    return logged_model(store.client.get_run(recorded[run.model_of]))


def _is_begun(store: Store, candidate: Any, run: Run) -> bool:
    """Whether a run of the store is this one, unfinished: nothing in it differs from the record."""
    tags = candidate.data.tags
    if FINGERPRINT in tags or tags.get(IDENTITY) != run.identity():
        return False
    expected = _points(run)
    return all(
        point in expected and _same(expected[point], value)
        for point, value in store.points(candidate).items()
    )


def _complete(
    store: Store,
    run: Run,
    begun: Any | None,
    fingerprint: str,
    parent: str | None,
    model: str | None,
) -> str:
    """Write a run, or what is missing of one that was begun; its id."""
    measured = run.measured()
    if begun is None:
        end = milliseconds(run.resources.stat().st_mtime if run.resources and measured else None)
        start = end - round(1000 * measured.get("system/job/seconds", 0))
        run_id, there = store.begin(run, start, parent), {}
    else:
        run_id, there = begun.info.run_id, store.points(begun)
        start = begun.info.start_time
        end = begun.info.end_time or milliseconds()
    last = max((step for _, step in _points(run)), default=0) or 1
    store.log_data(run_id, run.data, model)
    digests = {use.benchmark: use.digest for use in run.data}
    metrics = [
        _metric(name, value, start + (end - start) * step // last, step, model, digests)
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
    tags = {**run.tags, FINGERPRINT: fingerprint}
    store.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    store.client.set_terminated(run_id, "FINISHED", end)
    return run_id


def _metric(
    name: str, value: float, time: int, step: int, model: str | None, digests: dict[str, str]
) -> Metric:
    """A number, with the model and the data that it is of, as far as its name tells."""
    benchmark = name.partition("/")[0]
    if benchmark not in digests:
        return Metric(name, value, time, step)
    return Metric(name, value, time, step, model, benchmark, digests[benchmark])


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

    package = Path(__file__).parents[1]
    takes = Schema([ColSpec(AnyType(), "image"), ColSpec(Array(DataType.string), "class_names")])
    mlflow.set_tracking_uri(store.uri)
    with (
        tempfile.TemporaryDirectory() as folder,
        mlflow.start_run(run_id=run_id, log_system_metrics=False),
    ):
        code = shutil.copytree(
            package,
            Path(folder) / package.name,
            ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"),
        )
        mlflow.pyfunc.log_model(
            name="scan",
            loader_module="scan_core.tracking.pyfunc",
            data_path=str(checkpoint),
            code_paths=[str(code)],
            pip_requirements=[
                f"{name}=={version(name).partition('+')[0]}" for name in _MODEL_PACKAGES
            ],
            signature=ModelSignature(inputs=takes),
        )


def _same(first: float, second: float) -> bool:
    return first == second or (math.isnan(first) and math.isnan(second))
