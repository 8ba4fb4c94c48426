"""`params.yaml`: read as YAML 1.2, completed by `extends`, checked, frozen for a run.

What is wrong is reported with the key's path, what is allowed there, and the nearest known name.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import YAMLError

from scan_core.errors import InputError, nearest, worded
from scan_core.params.classifiers import CLASSIFIERS
from scan_core.params.schema.grids import Ablation, Params, Search, Steps
from scan_core.params.schema.recipe import Recipe
from scan_core.storage.files import json_digest, read_text, readable, write_json

SNAPSHOT_VARIABLE = "SCAN_PARAMS_SNAPSHOT"
SNAPSHOT_FOLDER = Path(".snakemake/params")
EXTENDS = "extends"
# Far more than any experiment needs, and less than aliases of aliases expand to.
_MOST_BYTES = 10_000_000

Location = tuple[int | str, ...]


def read_params(path: Path) -> dict[str, Any]:
    """Read a YAML 1.2 file (as DVC does: `6e-5` is a number, `off` is a word), or its snapshot.

    Raises:
        InputError: unreadable, not YAML, a key twice, not a mapping, or with values that JSON does
            not have, such as dates.
    """
    text = read_text(path)
    with readable(path, "correct the file"):
        document = json.loads(text) if path.suffix == ".json" else _parsed(text)
    if not isinstance(document, dict):
        expected = ", ".join(Params.model_fields)
        raise InputError(f"{path}: expected a mapping with the keys {expected}")
    return document


class _Constructor(SafeConstructor):
    """Of YAML 1.2, which has no merge key: what it merges multiplies faster than aliases do."""

    def flatten_mapping(self, node: Any) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            words = "'<<' is no key of YAML 1.2; let a recipe extend another"
            raise ConstructorError(None, None, words, node.start_mark)


def _parsed(text: str) -> Any:
    """YAML of which only what JSON has too is accepted; aliases may not expand without limit."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    document = yaml.load(text)
    size = 0
    try:
        for chunk in json.JSONEncoder(ensure_ascii=False).iterencode(document):
            size += len(chunk.encode())  # which refuses half a surrogate
            if size > _MOST_BYTES:
                raise ValueError(f"its aliases expand to over {_MOST_BYTES:,} bytes")
    except TypeError as error:
        raise ValueError(
            f"{error}. Only text, numbers, true, false, null, lists and mappings are allowed; put "
            "quotes around anything else, such as a date"
        ) from None
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
    document = read_params(path)
    frozen_path = (SNAPSHOT_FOLDER / f"{json_digest(document)[:12]}.json").absolute()
    write_json(frozen_path, document)
    os.environ[SNAPSHOT_VARIABLE] = str(frozen_path)
    return frozen_path


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
    return validate(_retyped(config, read_params(source)))


def _retyped(value: Any, frozen: Any) -> Any:
    if isinstance(value, dict):
        known = frozen if isinstance(frozen, dict) else {}
        return {key: _retyped(item, known.get(key)) for key, item in value.items()}
    if value == frozen:
        return value
    if isinstance(value, str):
        try:
            return _parsed(value)
        except (YAMLError, ValueError):
            return value
    if isinstance(value, list):
        return [_retyped(item, None) for item in value]
    return value


def validate(document: dict[str, Any], source: str = "params.yaml") -> Params:
    """Check the whole document: every recipe, and every value of every grid.

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
        raise InputError(_report(error, source, _parents(document))) from None
    check_known(params.recipe, params.recipes, f"{source}: recipe")
    for name, recipe in params.recipes.items():
        for method in recipe.predictions:
            if method in params.recipes or method in CLASSIFIERS:
                raise InputError(
                    f"{source}: recipes.{name}.predictions: the tables call our own results "
                    f"'{method}' (a recipe, or one of {', '.join(CLASSIFIERS)}); choose another"
                )
        for grid in recipe.grids:
            check_known(grid, params.ablations, f"{source}: recipes.{name}.grids")
    for table in ("ablations", "searches"):
        for name, grid in getattr(params, table).items():
            _check_grid(grid, params, f"{source}: {table}.{name}")
    return params


def override(recipe: dict[str, Any], key_path: str, value: Any) -> dict[str, Any]:
    """A copy of a recipe's mapping with one key replaced.

    Args:
        recipe: the recipe as read from the file.
        key_path: such as `inference.clip_weight`; it must exist.
        value: the new value.

    Raises:
        InputError: the recipe has no such key.
    """
    found = here = dict(recipe)
    *blocks, last = key_path.split(".")
    for depth, key in enumerate([*blocks, last]):
        if key not in here:
            where = ".".join(blocks[:depth]) or "the recipe"
            raise InputError(
                f"unknown key '{key_path}'{nearest(key, here)}; {where} has "
                f"{', '.join(here) or 'no keys'}"
            )
        if depth < len(blocks):
            here[key] = dict(here[key]) if isinstance(here[key], dict | BaseModel) else {}
            here = here[key]
    here[last] = value
    return found


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """A recipe with some keys replaced.

    Args:
        recipe: to start from.
        values: key path -> value.

    Raises:
        InputError: an unknown key, or values that are not allowed or contradict each other.
    """
    document = dict(recipe)  # blocks that no key reaches are not checked again
    for key_path, value in values.items():
        document = override(document, key_path, value)
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise InputError(_report(error, "the recipe")) from None


def check_known(name: str, names: Iterable[str], where: str) -> None:
    """Refuse a name that is none of those that there are.

    Raises:
        InputError: it begins with `where`, and says which names there are.
    """
    if name not in names:
        raise InputError(
            f"{where}: '{name}' is unknown{nearest(name, names)}; "
            f"there are {', '.join(map(str, names))}"
        )


def _check_grid(grid: Ablation | Search, params: Params, where: str) -> None:
    base_name = grid.recipe or params.recipe
    check_known(base_name, params.recipes, f"{where}.recipe")
    base = params.recipes[base_name]
    for name in grid.benchmarks or ():
        check_known(name, base.datasets.benchmarks, f"{where}.benchmarks: recipe {base_name}")
    fixed = grid.fixed if isinstance(grid, Ablation) else {}
    if both := grid.vary.keys() & fixed.keys():
        raise InputError(f"{where}: '{min(both)}' is both fixed and varied")
    problem_of_fixed = _problem(base, fixed)
    if problem_of_fixed and not grid.vary:
        raise InputError(f"{where}.fixed: {problem_of_fixed}")
    for key, values in grid.vary.items():
        for value in [values.low, values.high] if isinstance(values, Steps) else values:
            if problem := _problem(base, {**fixed, key: value}):
                block = "fixed" if problem == problem_of_fixed else "vary"
                raise InputError(f"{where}.{block}: {problem}")


def _problem(recipe: Recipe, values: Mapping[str, Any]) -> str | None:
    """What is wrong with a recipe into which some values are put; None if nothing is."""
    try:
        changed(recipe, values)
    except InputError as error:
        return str(error)
    return None


# ---- Recipes that extend others


def with_inherited(document: dict[str, Any], source: str) -> dict[str, Any]:
    """A copy of the file's contents in which every recipe is complete.

    Args:
        document: the contents; what is not of the right form is left for the schema to refuse.
        source: what error messages call the file.

    Raises:
        InputError: a recipe extends one that is not there, or, directly or not, itself.
    """
    recipes, parents = document.get("recipes"), _parents(document)
    if not isinstance(recipes, dict):
        return document

    def complete(name: str, line: tuple[str, ...]) -> Any:
        if name not in parents:
            return recipes[name]
        parent, line = parents[name], (*line, name)
        where = f"{source}: recipes.{name}.{EXTENDS}"
        if parent in line:
            circle = " -> ".join((*line[line.index(parent) :], parent))
            raise InputError(f"{where}: {circle} is a circle; one of them must extend none")
        check_known(parent, recipes, where)
        inherited = complete(parent, line)
        return merged(inherited, recipes[name]) if isinstance(inherited, dict) else recipes[name]

    return {**document, "recipes": {name: complete(name, ()) for name in recipes}}


def merged(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merged key by key; of everything else, `null` included, the child's."""
    result = dict(parent)
    for key, value in child.items():
        both = isinstance(result.get(key), Mapping) and isinstance(value, Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def _parents(document: Mapping[str, Any]) -> dict[str, str]:
    """Recipe -> the one that it extends, of those that extend one."""
    recipes = document.get("recipes")
    return {
        name: recipe[EXTENDS]
        for name, recipe in (recipes.items() if isinstance(recipes, dict) else ())
        if isinstance(recipe, dict) and isinstance(recipe.get(EXTENDS), str)
    }


# ---- Problems in words


def nested_blocks(annotation: Any) -> Iterator[type[BaseModel]]:
    """The schema's blocks within a field's type, from the outside in."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from nested_blocks(argument)


def _report(error: ValidationError, source: str, parents: Mapping[str, str] | None = None) -> str:
    """Every problem, one a line, where its key stands: not again for recipes that inherit it."""
    problems = {(problem["loc"], problem["msg"]): problem for problem in error.errors()}
    lines = []
    for (location, message), problem in problems.items():
        if location[:1] == ("recipes",) and len(location) > 1:
            parent = (parents or {}).get(str(location[1]))
            if parent and (("recipes", parent, *location[2:]), message) in problems:
                continue
        unknown = problem["type"] == "extra_forbidden"
        known = list(_block_at(location[:-1]).model_fields) if unknown else []
        lines.append(f"{source}: {worded(problem, known)}")
    return "\n".join(dict.fromkeys(lines))


def _block_at(location: Location) -> type[BaseModel]:
    """The block of the schema that holds the key at `location`."""
    block: type[BaseModel] = (
        Params if not location or location[0] in Params.model_fields else Recipe
    )
    for part in location:
        if field := block.model_fields.get(str(part)):
            block = next(nested_blocks(field.annotation), block)
    return block
