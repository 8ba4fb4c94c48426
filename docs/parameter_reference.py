"""The reference of all keys of `params.yaml`, generated from the schema and the recipes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from scan_core.params.reading import merged, nested_blocks, read_params, validate, with_inherited
from scan_core.params.schema.fields import Block
from scan_core.params.schema.grids import Ablation, Search
from scan_core.params.schema.recipe import Recipe

INTRODUCTION = """\
# Parameters

Every key of `params.yaml`. This page is generated (`make docs`): meanings and bounds come from
`scan_core/params/schema/`, values from `params.yaml`.

The file has four top-level keys: `recipe`, the name of the recipe to run; `recipes`, one block for
each recipe; `ablations`, the grids; and `searches`, the searches, all by name. A name has 1 to 64
of the letters A to Z, a to z, digits, `_` and `-`, and does not begin with `-`, because it becomes
a folder.

All recipes have the same keys; those that may be `null`, the switches of `released_defects`,
and `predictions` may be left out. A recipe that begins with `extends: vitb16` says only what
differs from that one: blocks and tables are merged key by key, lists and values are replaced, also
by `null`; an entry of a table (of `datasets.benchmarks`, or a benchmark's setting) that is `null`
removed. The column *values* below has one value where all recipes agree; otherwise it lists each
recipe, and of a recipe that extends another only what differs from that one. The complete recipe
of a run is in `results/<recipe>/tables/recipe.json`. Keys, inherited ones included, can be
overridden for one run; recipes that extend the changed recipe change with it:

    snakemake --profile local --config recipe=vitl14 -- all
    snakemake --profile local --config 'recipes={mini: {seed: 3}}' -- all
    dvc exp run -S recipes.mini.seed=3
    dvc exp run -S ++recipes.vitl14.segmenter.training.steps=60000    # not in vitl14's own block

"""


def parameter_reference(params_file: Path) -> str:
    """The page, as Markdown.

    Args:
        params_file: the file whose recipes fill the columns of values.

    Raises:
        InputError: the file is not valid.
    """
    document = read_params(params_file)
    written = with_inherited(document, str(params_file))["recipes"]
    recipes = {
        name: merged(recipe.model_dump(), written[name])
        for name, recipe in validate(document).recipes.items()
    }
    parents = {name: own.get("extends") for name, own in document["recipes"].items()}
    lines = [INTRODUCTION.rstrip(), "", "## A recipe", ""]
    lines += _section(Recipe, (), recipes, parents)
    for title, block in (("A grid", Ablation), ("A search", Search)):
        lines += ["", f"## {title}", "", _text(block.__doc__), "", *_meanings(block)]
    return "\n".join(lines) + "\n"


def _meanings(block: type[Block]) -> Iterator[str]:
    rows = [
        [
            f"`{name}`",
            _allowed(block, name),
            ""
            if field.is_required()
            else f"`{json.dumps(field.get_default(call_default_factory=True))}`",
            _text(field.description),
        ]
        for name, field in block.model_fields.items()
    ]
    return _table(["key", "allowed", "if left out", "meaning"], rows)


def _section(
    block: type[BaseModel],
    path: tuple[str, ...],
    recipes: dict[str, dict[str, Any]],
    parents: dict[str, str | None],
) -> Iterator[str]:
    inner: list[tuple[str, type[BaseModel]]] = []
    rows = []
    for name, field in block.model_fields.items():
        nested = next(nested_blocks(field.annotation), None)
        if nested is not None:
            inner.append((name, nested))
        if nested is None or field.description:
            row = [f"`{name}`", _allowed(block, name), _text(field.description)]
            rows.append([*row, _values(recipes, parents, (*path, name))] if recipes else row)
    if rows:
        yield from _table(["key", "allowed", "meaning", *(["values"] if recipes else [])], rows)
    for name, nested in inner:
        title = ".".join((*path, name))
        yield from ["", f"### `{title}`", "", _text(nested.__doc__), ""]
        if name == "benchmarks":
            names = {
                recipe: ", ".join(f"`{n}`" for n in values["datasets"]["benchmarks"])
                for recipe, values in recipes.items()
            }
            for recipe_name in recipes:
                if names[recipe_name] != names.get(parents[recipe_name] or ""):
                    yield f"- in `{recipe_name}`: {names[recipe_name]}"
            yield ""
        yield from _section(nested, (*path, name), {} if name == "benchmarks" else recipes, parents)


def _table(header: list[str], rows: list[list[str]]) -> Iterator[str]:
    for cells in [header, ["---"] * len(header), *rows]:
        yield f"| {' | '.join(cells)} |"


def _values(
    recipes: dict[str, dict[str, Any]], parents: dict[str, str | None], path: tuple[str, ...]
) -> str:
    """The value that all recipes have, or that of each one that does not inherit it."""
    values = {name: _value(recipe, path) for name, recipe in recipes.items()}
    first, *others = values.values()
    if all(other == first for other in others):
        return _shown(first)
    lines = []
    for name, value in values.items():
        inherited = values.get(parents[name] or "")
        if value in (inherited, None):
            continue
        if isinstance(value, dict) and isinstance(inherited, dict):
            value = {key: item for key, item in value.items() if inherited.get(key) != item}
        lines.append(f"`{name}`: {_shown(value)}")
    return "<br>".join(lines)


def _value(recipe: dict[str, Any], path: tuple[str, ...]) -> Any:
    """JSON of a value, a table of such by benchmark, or None where a recipe has no such key."""
    here: Any = recipe
    for key in path:
        if not isinstance(here, dict) or key not in here:
            return None
        here = here[key]
    if not isinstance(here, dict):
        return json.dumps(here)
    if path[0] in ("inference", "predictions"):
        return {key: json.dumps(item).strip('"') for key, item in here.items()}
    return "below"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "none"
    return value if value == "below" else "–" if value is None else f"`{value}`"


def _allowed(block: type[BaseModel], name: str) -> str:
    schema = block.model_json_schema()
    return _describe(schema["properties"][name], schema.get("$defs", {}))


def _describe(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in schema:
        return "block"
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_describe(c, definitions) for c in choices))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{v}`" for v in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_describe(schema['items'], definitions)}"
    if kind == "object":
        inside = schema.get("additionalProperties", {})
        return f"table of {_describe(inside, definitions)}" if inside else "table"
    bounds = [
        f"{sign} {schema[key]:,.10g}"
        for key, sign in (("exclusiveMinimum", ">"), ("minimum", "≥"), ("maximum", "≤"))
        if key in schema
    ]
    word = {"string": "text", "boolean": "`true`, `false`"}
    return " ".join([word.get(kind, kind), ", ".join(bounds)]).strip()


def _text(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
