"""What a search is made on, and whether it can be made; light, for the rules."""

from typing import Any

from scan_core.errors import InputError
from scan_core.params.schema.grids import Search, Steps
from scan_core.params.schema.recipe import Recipe

_MASK, _CROP = "inference.mask_threshold", "inference.crop_threshold"
_RATIO = "inference.replace_ratio"
_FOLLOWS = "mask_threshold"  # the word that `crop_threshold` may hold


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
    _check_keys(search, recipe, where)
    images = {key: benchmark.images for key, benchmark in recipe.datasets.benchmarks.items()}
    if search.benchmarks is None:
        chosen = [b for b in recipe.inference.benchmarks if "train" in images[b]]
    else:
        chosen = search.benchmarks
    missing = "" if chosen else "none of the recipe's benchmarks has"
    for benchmark in chosen:
        if "train" not in images[benchmark]:
            missing = f"'{benchmark}' has not"
    if missing:
        raise InputError(
            f"{where}.benchmarks: {missing} the `train` split on which settings are chosen; add "
            "`train: null` to the `images` of a benchmark"
        )
    return chosen


def _check_keys(search: Search, recipe: Recipe, where: str) -> None:
    crop = search.vary.get(_CROP, [recipe.inference.crop_threshold])
    follows = isinstance(crop, list) and _FOLLOWS in crop
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
    lowest = _smallest(search.vary[_MASK]) if _MASK in search.vary else None
    for value in crop if isinstance(crop, list) else ():
        if lowest is not None and not isinstance(value, str) and lowest < value:
            raise InputError(
                f"{where}.vary: {_MASK}: {lowest:g} is below the crop threshold {value:g}, and all "
                "mask thresholds below that are one: a mask without a pixel above it has no crop"
            )


def _smallest(values: Steps | list[Any]) -> float:
    return values.low if isinstance(values, Steps) else min(values)
