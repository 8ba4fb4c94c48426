"""Reading `params.yaml`: YAML 1.2, snapshot, overrides, and errors that name the key."""

import copy
import difflib
import hashlib
import json
import os
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from scan_core.errors import InputError
from scan_core.params.schema.file import Params
from scan_core.params.schema.grids import Ablation, Search, Steps
from scan_core.params.schema.recipe import Recipe
from scan_core.storage.atomic import write_text

SNAPSHOT_VARIABLE = "SCAN_PARAMS_SNAPSHOT"
SNAPSHOT_FOLDER = Path(".snakemake/params")


def read_params(path: Path) -> dict[str, Any]:
    """Read a YAML 1.2 file (as DVC does: `6e-5` is a number, `off` is a word).

    Raises:
        InputError: unreadable, not YAML, a key twice, or not a mapping.
    """
    try:
        document = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a mapping with the keys {', '.join(_keys(Params))}")
    return document


def snapshot_params(path: Path) -> Path:
    """Freeze `path` once per run, as JSON, and return the frozen file.

    The processes of a run's jobs parse the workflow again. They find the frozen file through
    an environment variable, so that editing `path` during a run cannot reach jobs that have
    not started yet.

    Raises:
        InputError: see `read_params`.
    """
    if frozen := os.environ.get(SNAPSHOT_VARIABLE):
        return Path(frozen)
    text = json.dumps(read_params(path), indent=1)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    frozen_path = (SNAPSHOT_FOLDER / f"{digest}.json").absolute()
    write_text(frozen_path, text)
    os.environ[SNAPSHOT_VARIABLE] = str(frozen_path)
    return frozen_path


def validate(document: dict[str, Any], source: str = "params.yaml") -> Params:
    """Check the whole document: every recipe, and every cell of every grid.

    Args:
        document: the file's contents.
        source: what error messages call the file.

    Raises:
        InputError: lists every problem, one a line, with the key's path, what is allowed and,
            for an unknown key, the nearest known one.
    """
    try:
        params = Params.model_validate(document)
    except ValidationError as error:
        raise InputError(_report(error, source)) from None
    if params.recipe not in params.recipes:
        raise InputError(
            f"{source}: recipe: '{params.recipe}' is unknown"
            f"{_nearest(params.recipe, params.recipes)}; there are {', '.join(params.recipes)}"
        )
    grids = [grid.name for grid in params.ablations]
    for name, recipe in params.recipes.items():
        if strangers := [grid for grid in recipe.grids if grid not in grids]:
            raise InputError(
                f"{source}: recipes.{name}.grids: '{strangers[0]}' is unknown"
                f"{_nearest(strangers[0], grids)}; there are {', '.join(grids)}"
            )
    _check_grids(params, document, source)
    return params


def select_params(config: dict[str, Any], source: Path) -> Params:
    """The whole file as it is to be run, from the frozen one and what the command line put over it.

    Snakemake hands nested values of `--config` over as text; where the file holds anything
    but text, such a value is read as YAML 1.2.

    Args:
        config: the workflow's configuration: the frozen file, overridden.
        source: the frozen file.

    Raises:
        InputError: see `validate`.
    """
    document = _retyped(config, read_params(source))
    return validate(document)


def override(recipe: dict[str, Any], key_path: str, value: Any) -> dict[str, Any]:
    """A copy of a recipe's mapping with one key replaced.

    Args:
        recipe: the recipe as read from the file.
        key_path: such as `inference.clip_weight`; it must exist.
        value: the new value.

    Raises:
        InputError: the recipe has no such key.
    """
    changed = copy.deepcopy(recipe)
    *blocks, last = key_path.split(".")
    here: Any = changed
    for depth, key in enumerate([*blocks, last]):
        if not isinstance(here, dict) or key not in here:
            known = list(here) if isinstance(here, dict) else []
            where = ".".join(key_path.split(".")[:depth]) or "the recipe"
            raise InputError(
                f"unknown key '{key_path}'{_nearest(key, known)}; {where} has "
                f"{', '.join(known) or 'no keys'}"
            )
        if depth < len(blocks):
            here = here[key]
    here[last] = value
    return changed


def nested_blocks(annotation: Any) -> Iterator[type[BaseModel]]:
    """The schema's blocks within a field's type, from the outside in."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from nested_blocks(argument)


def _check_grids(params: Params, document: dict[str, Any], source: str) -> None:
    for list_name, members in (("ablations", params.ablations), ("searches", params.searches)):
        names = [member.name for member in members]
        if twice := {name for name in names if names.count(name) > 1}:
            raise InputError(f"{source}: {list_name}: the name '{min(twice)}' is given twice")
        for member in members:
            _check_grid(member, params, document, f"{source}: {list_name}.{member.name}")


def _check_grid(
    grid: Ablation | Search, params: Params, document: dict[str, Any], where: str
) -> None:
    base_name = grid.recipe or params.recipe
    if base_name not in params.recipes:
        raise InputError(
            f"{where}.recipe: '{base_name}' is unknown"
            f"{_nearest(base_name, params.recipes)}; there are {', '.join(params.recipes)}"
        )
    known = params.recipes[base_name].datasets.benchmarks
    for name in grid.benchmarks or ():
        if name not in known:
            raise InputError(
                f"{where}.benchmarks: recipe {base_name} has no benchmark '{name}'"
                f"{_nearest(name, known)}; it has {', '.join(known)}"
            )
    choices: list[tuple[str, str, Any]] = [
        ("vary", key, value)
        for key, values in grid.vary.items()
        for value in ([values.low, values.high] if isinstance(values, Steps) else values)
    ]
    if isinstance(grid, Ablation):
        choices += [("fixed", key, value) for key, value in grid.fixed.items()]
        if both := grid.vary.keys() & grid.fixed.keys():
            raise InputError(f"{where}: '{min(both)}' is both fixed and varied")
    for block, key_path, value in choices:
        try:
            Recipe.model_validate(override(document["recipes"][base_name], key_path, value))
        except ValidationError as error:
            raise InputError(f"{where}.{block}: {_report(error, base_name)}") from None
        except InputError as error:
            raise InputError(f"{where}.{block}: {error}") from None


def _retyped(value: Any, frozen: Any) -> Any:
    if isinstance(value, dict) and isinstance(frozen, dict):
        return {key: _retyped(item, frozen.get(key)) for key, item in value.items()}
    if isinstance(value, str) and not isinstance(frozen, str):
        try:
            return YAML(typ="safe", pure=True).load(StringIO(value))
        except YAMLError:
            return value
    if isinstance(value, list) and value != frozen:
        return [_retyped(item, None) for item in value]
    return value


def _report(error: ValidationError, source: str) -> str:
    lines = []
    for problem in error.errors():
        path = ".".join(str(part) for part in _file_path(problem["loc"]))
        if problem["type"] == "extra_forbidden":
            known = _keys(_block_at(problem["loc"][:-1]))
            text = (
                f"unknown key{_nearest(str(problem['loc'][-1]), known)}; "
                f"allowed here: {', '.join(known)}"
            )
        elif problem["type"] == "missing":
            text = "this key is missing"
        elif problem["type"] == "value_error":
            text = str(problem["ctx"]["error"])
        else:
            text = f"{problem['msg']}, got {problem['input']!r}"
        lines.append(f"{source}: {path}: {text}" if path else f"{source}: {text}")
    return "\n".join(dict.fromkeys(lines))


def _file_path(location: tuple[int | str, ...]) -> Iterator[int | str]:
    """The path as it stands in the file, without pydantic's marks such as `[key]`."""
    return (part for part in location if not str(part).startswith("["))


def _block_at(location: tuple[int | str, ...]) -> type[BaseModel]:
    """The block of the schema that holds the key at `location`."""
    block: type[BaseModel] = (
        Params if not location or location[0] in Params.model_fields else Recipe
    )
    for part in _file_path(location):
        field = block.model_fields.get(str(part))
        if field is not None:
            found = next(nested_blocks(field.annotation), None)
            block = found or block
    return block


def _keys(block: type[BaseModel]) -> list[str]:
    return list(block.model_fields)


def _nearest(word: str, known: Any) -> str:
    found = difflib.get_close_matches(word, [str(k) for k in known], n=1, cutoff=0.6)
    return f", did you mean '{found[0]}'?" if found else ""
