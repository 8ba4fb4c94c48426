"""`extends`: a recipe says what differs from another one, and here it becomes complete."""

from collections.abc import Mapping
from typing import Any

from scan_core.errors import InputError
from scan_core.params.problems import nearest

EXTENDS = "extends"


def with_inherited(document: dict[str, Any], source: str) -> dict[str, Any]:
    """A copy of the file's contents in which every recipe is complete.

    Args:
        document: the contents; what is not of the right form is left for the schema to refuse.
        source: what error messages call the file.

    Raises:
        InputError: a recipe extends one that is not there, or, directly or not, itself.
    """
    recipes = document.get("recipes")
    if not isinstance(recipes, dict):
        return document
    complete = {name: _complete(name, recipes, (), source) for name in recipes}
    return {**document, "recipes": complete}


def parents_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Recipe -> the one that it extends, of those that extend one."""
    recipes = document.get("recipes")
    return {
        name: recipe[EXTENDS]
        for name, recipe in (recipes.items() if isinstance(recipes, dict) else ())
        if isinstance(recipe, dict) and isinstance(recipe.get(EXTENDS), str)
    }


def merged(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merged key by key; of everything else, `null` included, the child's."""
    result = dict(parent)
    for key, value in child.items():
        inherited = result.get(key)
        if isinstance(inherited, Mapping) and isinstance(value, Mapping):
            result[key] = merged(inherited, value)
        else:
            result[key] = value
    return result


def _complete(
    name: str, recipes: Mapping[str, Any], descendants: tuple[str, ...], source: str
) -> Any:
    recipe = recipes[name]
    parent = parents_of({"recipes": {name: recipe}}).get(name)
    if parent is None:
        return recipe
    where = f"{source}: recipes.{name}.{EXTENDS}"
    line = (*descendants, name)
    if parent in line:
        circle = " -> ".join((*line[line.index(parent) :], parent))
        raise InputError(f"{where}: {circle} is a circle; one of them must extend none")
    if parent not in recipes:
        raise InputError(
            f"{where}: '{parent}' is unknown{nearest(parent, recipes)}; "
            f"there are {', '.join(map(str, recipes))}"
        )
    inherited = _complete(parent, recipes, line, source)
    return merged(inherited, recipe) if isinstance(inherited, Mapping) else recipe
