"""The recipe of a run, complete and alone, frozen to a file that results can be compared with."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from scan_core.errors import InputError
from scan_core.params.reading import SNAPSHOT_FOLDER
from scan_core.params.schema.file import Params
from scan_core.storage.files import write_text


def resolved_recipe(params: Params) -> dict[str, Any]:
    """What runs, in the form of `params.yaml`: one recipe and the grids that are for it.

    Args:
        params: as it runs, with what the command line put over the file.
    """
    recipe = params.recipes[params.recipe]
    return {
        "recipe": params.recipe,
        "ablations": {
            name: grid.model_dump()
            for name, grid in params.ablations.items()
            if grid.recipe in (None, params.recipe)
        },
        "searches": {},
        "recipes": {params.recipe: recipe.model_dump()},
    }


def freeze_recipe(params: Params, shown: Path, may_write: bool) -> Path:
    """Write the resolved recipe beside the snapshots, and return the file.

    The leaves of the workflow have it as an input. It is written once for each recipe, so leaves
    stay up to date; it is newer than leaves that came from elsewhere (`dvc pull`, a copy), whose
    inputs Snakemake knows nothing of. If the tables that lie there are of another recipe, as
    after `dvc checkout`, the file is renewed, time stamp and contents: Snakemake remembers what
    it made last, not what has been put in its place since.

    Args:
        params: as it runs.
        shown: the resolved recipe that the tables were made with, if there are any.
        may_write: false in the processes of jobs, which find the file as their run left it.
    """
    document = resolved_recipe(params)
    text = json.dumps(document, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    frozen = SNAPSHOT_FOLDER / f"{params.recipe}-{digest}.json"
    replaced = shown.is_file() and shown.read_text(encoding="utf-8") != text
    if may_write and (replaced or not frozen.is_file()):
        write_text(frozen, json.dumps({"frozen": time.time(), "params": document}))
    return frozen


def load_frozen(path: Path) -> tuple[dict[str, Any], str]:
    """Read a file of `freeze_recipe`.

    Returns:
        the resolved recipe, and its text as `shown` holds it.

    Raises:
        InputError: missing, or no such file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))["params"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no frozen recipe ({type(error).__name__}); the workflow writes one to "
            f"{SNAPSHOT_FOLDER} whenever it is read, as by `snakemake -n`"
        ) from None
    return document, json.dumps(document, sort_keys=True)
