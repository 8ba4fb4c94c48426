"""From the values of a trial to settings of the model."""

import itertools
from collections.abc import Mapping
from typing import Any

from scan_core.params.grid import changed
from scan_core.params.resolution import resolve_settings
from scan_core.params.schema.grids import Search
from scan_core.params.schema.recipe import Recipe
from scan_core.params.settings import TestSettings

_PREFIX = "inference."
_OF_CROPS = ("inference.mask_threshold", "inference.crop_threshold", "inference.replace_ratio")


def settings_of_trial(recipe: Recipe, benchmark: str, values: Mapping[str, Any]) -> TestSettings:
    """The settings of a benchmark with some keys of the recipe replaced: a cell of a grid has them.

    Raises:
        InputError: values that contradict each other.
    """
    return resolve_settings(changed(recipe, values), benchmark)


def settings_of_crops(search: Search, recipe: Recipe, benchmark: str) -> list[TestSettings]:
    """Settings that need all crops, and all shifts of them, that any trial may need.

    Args:
        search: as in `params.yaml`.
        recipe: what is not searched, and what the search is compared to.
        benchmark: its name.
    """
    listed = {key: values for key in _OF_CROPS if isinstance(values := search.vary.get(key), list)}
    combinations = [
        dict(zip(listed, values, strict=True)) for values in itertools.product(*listed.values())
    ]
    settings = [settings_of_trial(recipe, benchmark, values) for values in ({}, *combinations)]
    # A trial may raise the weight, so CLIP is asked whatever the recipe's is.
    return [one.with_clip_weight(1.0) for one in settings]


def not_searched(search: Search, recipe: Recipe, benchmark: str) -> dict[str, Any]:
    """The settings that no trial changes."""
    searched = {key.removeprefix(_PREFIX) for key in search.vary}
    if "mask_threshold" in searched and recipe.inference.crop_threshold == "mask_threshold":
        searched.add("crop_threshold")
    own = resolve_settings(recipe, benchmark).as_dict()
    return {name: value for name, value in own.items() if name not in searched}
