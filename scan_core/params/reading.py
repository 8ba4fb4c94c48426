"""Reading `params.yaml`: YAML 1.2, snapshot, overrides, and errors that name the key."""

import copy
import hashlib
import json
import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from scan_core.errors import InputError
from scan_core.params.inheritance import parents_of, with_inherited
from scan_core.params.problems import keys_of, nearest, report
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
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start} is not UTF-8; save the file in that encoding"
        ) from None
    except (YAMLError, RecursionError) as error:
        raise InputError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a mapping with the keys {', '.join(keys_of(Params))}")
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
        params = Params.model_validate(with_inherited(document, source))
    except ValidationError as error:
        raise InputError(report(error, source, parents_of(document))) from None
    if params.recipe not in params.recipes:
        raise InputError(
            f"{source}: recipe: '{params.recipe}' is unknown"
            f"{nearest(params.recipe, params.recipes)}; there are {', '.join(params.recipes)}"
        )
    for name, recipe in params.recipes.items():
        if taken := [method for method in recipe.predictions if method in params.recipes]:
            raise InputError(
                f"{source}: recipes.{name}.predictions: '{taken[0]}' is the name of a recipe, by "
                "which the tables call our own results; choose another"
            )
        if strangers := [grid for grid in recipe.grids if grid not in params.ablations]:
            raise InputError(
                f"{source}: recipes.{name}.grids: '{strangers[0]}' is unknown"
                f"{nearest(strangers[0], params.ablations)}; "
                f"there are {', '.join(params.ablations)}"
            )
    for name, grid in params.ablations.items():
        _check_grid(grid, params, f"{source}: ablations.{name}")
    for name, search in params.searches.items():
        _check_grid(search, params, f"{source}: searches.{name}")
    return params


def select_params(config: dict[str, Any], source: Path) -> Params:
    """The whole file as it is to be run, from the frozen one and what the command line put over it.

    Snakemake hands nested values of `--config` over as text; what is not as it stands in the file
    is therefore read as YAML 1.2. A recipe that extends another has the other's overrides too.

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
                f"unknown key '{key_path}'{nearest(key, known)}; {where} has "
                f"{', '.join(known) or 'no keys'}"
            )
        if depth < len(blocks):
            here = here[key]
    here[last] = value
    return changed


def _check_grid(grid: Ablation | Search, params: Params, where: str) -> None:
    base_name = grid.recipe or params.recipe
    if base_name not in params.recipes:
        raise InputError(
            f"{where}.recipe: '{base_name}' is unknown"
            f"{nearest(base_name, params.recipes)}; there are {', '.join(params.recipes)}"
        )
    known = params.recipes[base_name].datasets.benchmarks
    for name in grid.benchmarks or ():
        if name not in known:
            raise InputError(
                f"{where}.benchmarks: recipe {base_name} has no benchmark '{name}'"
                f"{nearest(name, known)}; it has {', '.join(known)}"
            )
    fixed = grid.fixed if isinstance(grid, Ablation) else {}
    if both := grid.vary.keys() & fixed.keys():
        raise InputError(f"{where}: '{min(both)}' is both fixed and varied")
    base = params.recipes[base_name].model_dump()
    problem_of_fixed = _problem(base, fixed, base_name)
    if problem_of_fixed and not grid.vary:
        raise InputError(f"{where}.fixed: {problem_of_fixed}")
    for key, values in grid.vary.items():
        for value in [values.low, values.high] if isinstance(values, Steps) else values:
            if problem := _problem(base, {**fixed, key: value}, base_name):
                block = "fixed" if problem == problem_of_fixed else "vary"
                raise InputError(f"{where}.{block}: {problem}")


def _problem(recipe: dict[str, Any], values: Mapping[str, Any], name: str) -> str | None:
    """What is wrong with a recipe into which some values are put; None if nothing is."""
    try:
        for key, value in values.items():
            recipe = override(recipe, key, value)
        Recipe.model_validate(recipe)
    except ValidationError as error:
        return report(error, name)
    except InputError as error:
        return str(error)
    return None


def _retyped(value: Any, frozen: Any) -> Any:
    if isinstance(value, dict):
        known = frozen if isinstance(frozen, dict) else {}
        return {key: _retyped(item, known.get(key)) for key, item in value.items()}
    if value == frozen:
        return value
    if isinstance(value, str):
        try:
            return YAML(typ="safe", pure=True).load(StringIO(value))
        except YAMLError:
            return value
    if isinstance(value, list):
        return [_retyped(item, None) for item in value]
    return value
