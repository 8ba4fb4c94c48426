"""What leaves of the workflow depend on, in files below `.snakemake/params`."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scan_core.params.reading import SNAPSHOT_FOLDER
from scan_core.params.schema.grids import Params
from scan_core.storage.files import read_json, write_text


def as_input(name: str, document: Any, reads: Sequence[str] = (), made: Path | None = None) -> Path:
    """Write a document to a JSON file of a fixed name, and return the file.

    It is an input of a leaf, whose own name does not say what it is made of. It is written only
    where it holds something else, so that leaves stay up to date, and it is newer than leaves that
    came from elsewhere, as by `dvc pull`.

    Args:
        name: of the file.
        document: what the leaf depends on.
        reads: files that the leaf reads, whose names say what they are made of.
        made: the document with which the leaf that is there was made, if the leaf holds one. Where
            it is another one, as after `dvc checkout`, the file is renewed, time and content:
            Snakemake knows what it made last, not what was put in its place.
    """
    path = SNAPSHOT_FOLDER / "leaves" / f"{name}.json"
    text = json.dumps(document, sort_keys=True)
    replaced = made is not None and made.is_file() and made.read_text(encoding="utf-8") != text
    if replaced or not path.is_file() or _holds(path) != (text, list(reads)):
        renewed = {"renewed": time.time()} if replaced else {}
        write_text(path, json.dumps({"document": document, "reads": list(reads), **renewed}))
    return path


def load_frozen(path: Path) -> tuple[Any, str]:
    """Read a file of `as_input`.

    Returns:
        the document, and its text as `made` holds it.

    Raises:
        InputError: no such file.
    """
    document = read_json(path, "`snakemake -n` writes it anew")["document"]
    return document, json.dumps(document, sort_keys=True)


def _holds(path: Path) -> tuple[str, list[str]]:
    record = read_json(path)
    return json.dumps(record["document"], sort_keys=True), record["reads"]


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
