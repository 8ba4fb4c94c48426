"""Where and when runs are recorded, as the environment says; light, for the workflow itself.

`MLFLOW_TRACKING_URI` names the store; without it, that is `mlflow.db` in the project's root, which
a plain `mlflow ui` there shows. `SCAN_TRACKING` says when: `end` (after the results are made),
`live` (trainings also while they run) or `off`. Its default is `end`, and `live` where a store is
named.
"""

import getpass
import hashlib
import json
import os
import re
from pathlib import Path

from scan_core.command.following import when


def project_root() -> Path:
    """The project's root; in a temporary copy that DVC makes for an experiment, the real one."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).absolute()


def database() -> Path:
    """The store of a project that names none."""
    return project_root() / "mlflow.db"


def default_uri() -> str:
    """The address of `database`."""
    file = database()
    if set("?#%") & set(str(file)):  # an address would end there, or mean another letter
        file = Path(os.path.relpath(file))
    return f"sqlite:///{file}"


def store_uri() -> str:
    """The store's address."""
    return os.environ.get("MLFLOW_TRACKING_URI") or default_uri()


def shown_uri() -> str:
    """The store's address without a password, for logs and records."""
    return re.sub(r"//[^/@]*@", "//", store_uri())


def is_remote() -> bool:
    """Whether the store is a server, which others may use as well."""
    return store_uri().startswith(("http://", "https://"))


def origin() -> tuple[str, str]:
    """Whose runs these are: several people and copies of the project may share a store.

    Runs of one origin replace each other; those of an experiment of DVC stay beside the others.

    Returns:
        12 hexadecimal digits, and what people read; empty in the project's own store.
    """
    words = []
    if os.environ.get("MLFLOW_TRACKING_URI"):
        words.append(f"{getpass.getuser()}:{project_root()}")
    if experiment := os.environ.get("DVC_EXP_NAME"):
        words.append(experiment)
    text = " ".join(words)
    return hashlib.sha256(text.encode()).hexdigest()[:12], text


def target() -> str:
    """What a record of runs depends on besides the results: whether, where, and whose."""
    return " ".join(["off"] if when() == "off" else [shown_uri(), origin()[0]])


def failures(record: Path) -> int:
    """How often runs could not be recorded.

    The number goes up when it happens, so that Snakemake, to which it is a parameter, tries again
    in the next call; and it stays when it succeeds, so that it does not try once more then.

    Args:
        record: that `mlflow_sync` writes.
    """
    try:
        contents = json.loads(record.read_text(encoding="utf-8"))
        number = int(contents["failures"])
        was_in_file = contents["store"].startswith("sqlite:///") and contents["synced"]
        lost = was_in_file and not Path(contents["store"].removeprefix("sqlite:///")).exists()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0
    return number + 1 if lost else number
