"""What a search is made on, whether it can be made, and the settings of its trials."""

import itertools
from collections.abc import Mapping
from typing import Any

from scan_core.errors import InputError
from scan_core.params.reading import changed
from scan_core.params.schema.grids import Search, Steps
from scan_core.params.schema.recipe import Recipe
from scan_core.params.settings import TestSettings, resolve_settings

_MASK, _CROP = "inference.mask_threshold", "inference.crop_threshold"
_RATIO = "inference.replace_ratio"


def settings_of_trial(recipe: Recipe, benchmark: str, values: Mapping[str, Any]) -> TestSettings:
    """The settings of a benchmark with some keys of the recipe replaced, as a cell of a grid has.

    Raises:
        InputError: values that contradict each other.
    """
    return resolve_settings(changed(recipe, values), benchmark)


def settings_of_crops(search: Search, recipe: Recipe, benchmark: str) -> list[TestSettings]:
    """Settings that need all crops, and all shifts of them, that any trial or the recipe needs."""
    keys = (_MASK, _CROP, _RATIO)
    listed = {key: values for key in keys if isinstance(values := search.vary.get(key), list)}
    combinations = [
        dict(zip(listed, values, strict=True)) for values in itertools.product(*listed.values())
    ]
    settings = [settings_of_trial(recipe, benchmark, values) for values in ({}, *combinations)]
    # A trial may raise the weight, so CLIP is asked whatever the recipe's is.
    return [one.overridden(clip_weight=1.0) for one in settings]


def not_searched(search: Search, recipe: Recipe, benchmark: str) -> dict[str, Any]:
    """The settings of a benchmark that no trial of a search changes."""
    searched = {key.removeprefix("inference.") for key in search.vary}
    if _MASK in search.vary and isinstance(recipe.inference.crop_threshold, str):
        searched.add("crop_threshold")
    own = resolve_settings(recipe, benchmark).as_dict()
    return {name: value for name, value in own.items() if name not in searched}


def searched_benchmarks(name: str, search: Search, recipe: Recipe) -> list[str]:
    """The benchmarks of a search, once it is clear that the recipe can be searched like this.

    Args:
        name: of the search.
        search: as in `params.yaml`.
        recipe: that it starts from.

    Raises:
        InputError: no benchmark, or one without a `train` split; steps where a list is needed; or
            a shift of a model that was fine-tuned without.
    """
    where = f"params.yaml: searches.{name}"
    _check_searched_keys(search, recipe, where)
    usable = [key for key, one in recipe.datasets.benchmarks.items() if "train" in one.images]
    chosen = search.benchmarks or [b for b in recipe.inference.benchmarks if b in usable]
    missing = [f"'{benchmark}' has not" for benchmark in chosen if benchmark not in usable]
    if missing or not chosen:
        whose = missing[0] if missing else "none of the recipe's benchmarks has"
        raise InputError(
            f"{where}.benchmarks: {whose} the `train` split on which settings are chosen; add "
            "`train: null` to the `images` of a benchmark"
        )
    return chosen


def _check_searched_keys(search: Search, recipe: Recipe, where: str) -> None:
    crop = search.vary.get(_CROP, [recipe.inference.crop_threshold])
    thresholds = crop if isinstance(crop, list) else []
    follows = any(isinstance(value, str) for value in thresholds)
    for key in (_MASK, _CROP, _RATIO) if follows else (_CROP, _RATIO):
        if isinstance(search.vary.get(key), Steps):
            remedy = ", or `crop_threshold` a number" if key == _MASK else ""
            raise InputError(
                f"{where}.vary: {key}: CLIP's crops depend on it, so it needs a list of "
                f"values{remedy}"
            )
    if _RATIO in search.vary and not recipe.clip_finetune.contextual_shift:
        raise InputError(
            f"{where}.vary: {_RATIO}: CLIP was fine-tuned without contextual shift, and is tested "
            "without"
        )
    masks = search.vary.get(_MASK, [])
    lowest = masks.low if isinstance(masks, Steps) else min(map(float, masks), default=None)
    for value in thresholds:
        if lowest is not None and not isinstance(value, str) and lowest < value:
            raise InputError(
                f"{where}.vary: {_MASK}: {lowest:g} is below the crop threshold {value:g}, and all "
                "mask thresholds below that are one: a mask without a pixel above it has no crop"
            )
