"""The one place where a recipe becomes test-time settings."""

from typing import Any

from scan_core.errors import InputError
from scan_core.params.schema.recipe import Recipe
from scan_core.params.settings import DEFAULT, SettingsTable, TestSettings


def resolve_settings(recipe: Recipe, benchmark: str | None = None) -> TestSettings:
    """The settings with which a recipe's model is tested.

    A model that was fine-tuned without contextual shift is tested without it.

    Args:
        recipe: of the model.
        benchmark: its name; None, or one that a table of `inference` does not name: the
            table's `default`.

    Raises:
        InputError: the settings contradict each other.
    """
    inference = recipe.inference

    def chosen(key: str) -> Any:
        value = getattr(inference, key)
        if not isinstance(value, dict):
            return value
        return value.get(benchmark or DEFAULT, value[DEFAULT])

    threshold = float(chosen("mask_threshold"))
    crop_threshold = inference.crop_threshold
    shifted = recipe.clip_finetune.contextual_shift
    trained = inference.prompts == "trained"
    scale = inference.logit_scale
    try:
        return TestSettings(
            mask_threshold=threshold,
            crop_threshold=threshold if isinstance(crop_threshold, str) else float(crop_threshold),
            crop_expansion=float(inference.crop_expansion),
            clip_weight=float(chosen("clip_weight")),
            ensemble=chosen("ensemble"),
            replace_ratio=float(chosen("replace_ratio")) if shifted else 0.0,
            replace_layers=tuple(inference.replace_layers) if shifted else (),
            prompts=recipe.clip.prompts if trained else inference.prompts,
            logit_scale=scale if isinstance(scale, str) else float(scale),
            short_side=inference.short_side,
            longest_side=inference.longest_side,
            scales=tuple(map(float, inference.scales)),
            flip=inference.flip,
            precision=inference.precision,
        )
    except InputError as error:
        where = f" of {benchmark}" if benchmark else ""
        raise InputError(f"inference: the settings{where} cannot be used: {error}") from None


def settings_table(recipe: Recipe) -> SettingsTable:
    """The settings of every benchmark that a recipe evaluates, and its default."""
    benchmarks = {name: resolve_settings(recipe, name) for name in recipe.inference.benchmarks}
    return SettingsTable(resolve_settings(recipe), benchmarks)
