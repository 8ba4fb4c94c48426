"""The model that a person means: a checkpoint, a recipe, or what the demo has made."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from scan_core.errors import InputError
from scan_core.inference.scan import Scan
from scan_core.models.build import architecture_of
from scan_core.params.reading import read_params, validate
from scan_core.params.resolution import settings_table
from scan_core.params.schema.recipe import Recipe
from scan_core.params.settings import TestSettings

PARAMS = Path("params.yaml")
DEFAULT_RECIPE = "mini"


def chosen_model(
    checkpoint: Path | None = None,
    recipe_name: str | None = None,
    params: Path = PARAMS,
    overrides: Mapping[str, Any] | None = None,
    benchmark: str | None = None,
    **options: Any,
) -> Scan:
    """Open a model.

    Args:
        checkpoint: any of this project's; None: the release of the recipe.
        recipe_name: without a checkpoint, whose release is opened (None: `mini`), with the settings
            that it holds; with one, whose settings are used instead of the checkpoint's own.
        params: the file of the recipes.
        overrides: of the settings, by their names in `TestSettings`; None: not overridden.
        benchmark: whose settings are used; None: the recipe's or checkpoint's default.
        options: `device`, `text_cache`.

    Returns:
        the model; its header says under `checkpoint` which file it is.

    Raises:
        InputError: there is no such checkpoint or recipe, or the two do not belong together.
    """
    table = None
    if checkpoint is not None and recipe_name is not None:
        recipe = _recipe(params, recipe_name)
        table = settings_table(recipe)
    checkpoint = checkpoint or _released(recipe_name or DEFAULT_RECIPE)
    scan = Scan.from_checkpoint(checkpoint, table, **options)
    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    scan.header["checkpoint"] = {"path": str(checkpoint), "sha256": digest}
    if table is not None:
        _check_fit(scan, recipe, checkpoint, str(recipe_name))
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    scan.settings = _overridden(scan.settings_table.of(benchmark), given)
    return scan


def knows_only_drawings(scan: Scan) -> bool:
    """Whether a model's CLIP was trained on the miniature world: it is of no use on photographs.

    Only that CLIP has a convolutional stem; open_clip has none.
    """
    clip = scan.header["architecture"]["clip"]
    return isinstance(clip, Mapping) and clip["stem"] == "convolutional"


def _overridden(settings: TestSettings, given: Mapping[str, Any]) -> TestSettings:
    """Settings with some replaced; crops that follow the mask threshold go on following it."""
    follows = settings.crop_threshold == settings.mask_threshold
    changes = dict(given)
    if follows and "mask_threshold" in given:
        changes["crop_threshold"] = given["mask_threshold"]
    return replace(settings, **changes)


def _recipe(params: Path, name: str) -> Recipe:
    recipes = validate(read_params(params), str(params)).recipes
    if name not in recipes:
        raise InputError(f"recipe '{name}' is unknown; {params} has {', '.join(recipes)}")
    return recipes[name]


def _released(recipe: str) -> Path:
    """A recipe's release: the model with the settings that it was evaluated with."""
    path = Path(f"results/{recipe}/release/model.safetensors")
    if path.is_file():
        return path
    how = "`make demo` makes it" if recipe == DEFAULT_RECIPE else f"run the recipe {recipe} first"
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
