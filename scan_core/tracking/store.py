"""Where and when runs are recorded, as the environment says.

`MLFLOW_TRACKING_URI` names the store; the default is `mlflow.db` in the project's root, which a
plain `mlflow ui` there shows. `SCAN_TRACKING` says when: `end` (by the rule `mlflow_sync`), `live`
(trainings also while they run) or `off`. Its default is `end`, and `live` if a store is named.
"""

import getpass
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from scan_core.errors import InputError
from scan_core.storage.files import json_digest

if TYPE_CHECKING:
    from mlflow import MlflowClient

WHEN = ("off", "end", "live")
_NOTE = """The recipe `{recipe}`. Metrics of benchmarks are fractions from 0 to 1, named
`<benchmark>/<metric>`: `miou`, `sg_iou`, `miou_unseen`, …; `mean/<metric>` is the mean over the
benchmarks.

- `evaluation`: the recipe's own settings, with tables, figures and pictures
- `model`: the network, for `mlflow.pyfunc.load_model`, registered as `scan-{recipe}`
- `grid`: an ablation; its children are the cells and seeds
- `clip`, `segmenter`, `finetuned_clip`: trainings, with their curves"""


def when() -> str:
    """When runs are recorded: `off`, `end` or `live`.

    Raises:
        InputError: `SCAN_TRACKING` has another value.
    """
    default = "end" if store_uri() == default_uri() else "live"
    chosen = os.environ.get("SCAN_TRACKING") or default
    if chosen not in WHEN:
        raise InputError(f"SCAN_TRACKING: '{chosen}' is unknown; expected {', '.join(WHEN)}")
    return chosen


def project_root() -> Path:
    """The project's root; in a temporary copy that DVC makes for an experiment, the real one."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).absolute()


def default_uri() -> str:
    """The address of the project's own store."""
    # A relative path: in an address, some characters of folders mean something else.
    return f"sqlite:///{os.path.relpath(project_root() / 'mlflow.db')}"


def store_uri() -> str:
    """The store's address."""
    return os.environ.get("MLFLOW_TRACKING_URI") or default_uri()


def shown_uri() -> str:
    """The store's address without a password, for logs and records."""
    return re.sub(r"//[^/@]*@", "//", store_uri())


def user() -> str:
    """Name of the user, or the number where the system knows no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def workspace() -> str:
    """Whose runs these are: several people and copies of the project may share a store.

    Runs of one workspace replace each other; those of an experiment of DVC stay beside the others.

    Returns:
        user, folder and experiment; empty in the project's own store.
    """
    shared = store_uri() != default_uri()
    words = [f"{user()}:{project_root()}"] if shared else []
    return " ".join([*words, os.environ.get("DVC_EXP_NAME", "")]).strip()


def origin() -> str:
    """Digest of the workspace, by which runs are found: 12 hexadecimal digits."""
    return json_digest(workspace())[:12]


def target() -> str:
    """What the record of runs depends on besides the results: whether, where and whose."""
    return "off" if when() == "off" else f"{shown_uri()} {origin()}"


def open_store(recipe: str, timeout: int = 30, retries: int = 1) -> "tuple[MlflowClient, str]":
    """Connect to the store, and make the experiment `scan/<recipe>` if it is not there.

    Args:
        timeout: of a request, seconds. MLflow's own defaults wait for minutes for a dead server.
        retries: of a request.

    Returns:
        client, and id of the experiment.

    Raises:
        InputError: the store belongs to another folder.
        Exception: of MLflow, SQLAlchemy or requests, if the store does not answer.
    """
    for name, value in {
        "HTTP_REQUEST_TIMEOUT": str(timeout),
        "HTTP_REQUEST_MAX_RETRIES": str(retries),
        "DISABLE_TELEMETRY": "true",
        "SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }.items():
        os.environ.setdefault(f"MLFLOW_{name}", value)
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(store_uri())
    name = f"scan/{recipe}"
    remote = store_uri().startswith(("http://", "https://"))
    folder = None if remote else (project_root() / "mlruns" / recipe).as_uri()
    # The client makes the tables of a new database, which must be done by one process.
    with FileLock(project_root() / ".mlflow.lock", timeout=120):
        client = mlflow.MlflowClient()
        found = client.get_experiment_by_name(name)
        if found is None:
            note = {"mlflow.note.content": _NOTE.format(recipe=recipe)}
            try:
                return client, client.create_experiment(name, folder, tags=note)
            except MlflowException:  # another machine was faster
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise
    if store_uri() == default_uri() and found.artifact_location != folder:
        raise InputError(
            f"{project_root() / 'mlflow.db'} keeps its files in {found.artifact_location}: the "
            "project was moved or copied. Delete mlflow.db and mlruns/ here, and run again; every "
            "result is recorded again"
        )
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return client, found.experiment_id


def reason(error: Exception) -> str:
    """The first line of an error of the store, short."""
    if isinstance(error, InputError):
        return str(error)
    if " failed with exception " in str(error):  # and then the whole history of a connection
        return "no answer"
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) < 160 else f"{line[:157]}..."
