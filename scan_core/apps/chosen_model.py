"""The model that a person means: a checkpoint, a recipe, or what the demo has made."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from scan_core.errors import InputError
from scan_core.inference.scan import Scan, settings_for
from scan_core.models.build import architecture_of
from scan_core.params.reading import read_params, validate
from scan_core.params.schema.recipe import Recipe

PARAMS = Path("params.yaml")
DEFAULT_RECIPE = "mini"


def chosen_model(
    checkpoint: Path | None = None,
    recipe_name: str | None = None,
    params: Path = PARAMS,
    overrides: Mapping[str, Any] | None = None,
    **options: Any,
) -> Scan:
    """Open a model.

    Args:
        checkpoint: any of this project's; None: the recipe's fused model.
        recipe_name: whose test-time settings are used; None: those that the checkpoint holds, or
            without a checkpoint the recipe `mini`.
        params: the file of the recipes.
        overrides: of the settings, by their names in `InferenceSettings`; None: not overridden.
        options: `device`, `precision`, `text_cache`.

    Returns:
        the model; its header says under `checkpoint` which file it is.

    Raises:
        InputError: there is no such checkpoint or recipe, or the two do not belong together.
    """
    recipe = None
    if checkpoint is None or recipe_name is not None:
        recipe_name = recipe_name or DEFAULT_RECIPE
        recipe = _recipe(params, recipe_name)
        checkpoint = checkpoint or _made_by(recipe, recipe_name)
    scan = Scan.from_checkpoint(checkpoint, **options)
    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    scan.header["checkpoint"] = {"path": str(checkpoint), "sha256": digest}
    if recipe is not None:
        _check_fit(scan, recipe, checkpoint, str(recipe_name))
        scan.settings = settings_for(recipe.inference, None)
        scan.observer.use_layers(recipe.inference.replace_layers)
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    scan.settings = replace(scan.settings, **given)
    return scan


def _recipe(params: Path, name: str) -> Recipe:
    recipes = validate(read_params(params), str(params)).recipes
    if name not in recipes:
        raise InputError(f"recipe '{name}' is unknown; {params} has {', '.join(recipes)}")
    return recipes[name]


def _made_by(recipe: Recipe, name: str) -> Path:
    path = Path(f"results/{name}/model/seed={recipe.seed}/model.safetensors")
    if path.is_file():
        return path
    how = "`make demo` makes it" if name == DEFAULT_RECIPE else f"train the recipe {name} first"
    raise InputError(
        f"there is no model yet: {path} does not exist. {how[0].upper()}{how[1:]}, or name another "
        "one with --checkpoint"
    )


def _check_fit(scan: Scan, recipe: Recipe, checkpoint: Path, name: str) -> None:
    theirs = scan.header["architecture"]
    ours = architecture_of(recipe.segmenter, recipe.clip)
    if differing := [part for part in ours if theirs.get(part) != ours[part]]:
        raise InputError(
            f"checkpoint {checkpoint} is of another recipe than '{name}': its {differing[0]} is "
            f"{theirs.get(differing[0])}, the recipe's {ours[differing[0]]}. Name its own recipe, "
            "or none: a checkpoint holds its settings"
        )
