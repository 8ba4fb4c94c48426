"""What is wrong with `params.yaml`, in words: the key's path, what is allowed, the nearest name."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from scan_core.params.schema.file import Params
from scan_core.params.schema.recipe import Recipe

Location = tuple[int | str, ...]


def report(error: ValidationError, source: str, parents: Mapping[str, str] | None = None) -> str:
    """Every problem, one a line.

    Args:
        error: of the schema.
        source: what the lines begin with, such as the file's name.
        parents: recipe -> the one that it extends. What is wrong with a key is said where the key
            stands, not again for every recipe that has it from there.
    """
    problems = {(problem["loc"], problem["msg"]): problem for problem in error.errors()}
    lines = []
    for (location, message), problem in problems.items():
        if _inherited(location, message, parents or {}, problems):
            continue
        path = ".".join(str(part) for part in _file_path(location))
        if problem["type"] == "extra_forbidden":
            known = keys_of(_block_at(location[:-1]))
            text = (
                f"unknown key{nearest(str(location[-1]), known)}; allowed here: {', '.join(known)}"
            )
        elif problem["type"] == "missing":
            text = "this key is missing"
        elif problem["type"] == "value_error":
            text = str(problem["ctx"]["error"])
        else:
            text = f"{message}, got {problem['input']!r}"
        lines.append(f"{source}: {path}: {text}" if path else f"{source}: {text}")
    return "\n".join(dict.fromkeys(lines))


def nearest(word: str, known: Iterable[Any]) -> str:
    """`, did you mean '...'?`, if a known name is near enough to a word."""
    found = difflib.get_close_matches(word, [str(k) for k in known], n=1, cutoff=0.6)
    return f", did you mean '{found[0]}'?" if found else ""


def nested_blocks(annotation: Any) -> Iterator[type[BaseModel]]:
    """The schema's blocks within a field's type, from the outside in."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from nested_blocks(argument)


def keys_of(block: type[BaseModel]) -> list[str]:
    """The keys of a block."""
    return list(block.model_fields)


def _inherited(
    location: Location,
    message: str,
    parents: Mapping[str, str],
    problems: Mapping[tuple[Location, str], Any],
) -> bool:
    if len(location) < 2 or location[0] != "recipes":
        return False
    parent = parents.get(str(location[1]))
    return parent is not None and (("recipes", parent, *location[2:]), message) in problems


def _file_path(location: Location) -> Iterator[int | str]:
    """The path as it stands in the file, without pydantic's marks such as `[key]`."""
    return (part for part in location if not str(part).startswith("["))


def _block_at(location: Location) -> type[BaseModel]:
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
