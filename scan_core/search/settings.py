"""From the values of a trial to settings of the model."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from scan_core.inference.ensemble import InferenceSettings
from scan_core.params.schema.grids import Search

_PREFIX = "inference."
_OF_CROPS = ("inference.mask_threshold", "inference.crop_threshold", "inference.replace_ratio")


def settings_with(base: InferenceSettings, values: Mapping[str, Any]) -> InferenceSettings:
    """Settings with some keys of `params.yaml` replaced."""
    changes = {key.removeprefix(_PREFIX): value for key, value in values.items()}
    if changes.get("crop_threshold") == "mask_threshold":
        changes["crop_threshold"] = None
    return replace(base, **changes)


def settings_of_crops(
    search: Search, bases: Sequence[InferenceSettings]
) -> list[InferenceSettings]:
    """Settings that need all crops, and all shifts of them, that any trial may need.

    Args:
        search: as in `params.yaml`.
        bases: what is not searched, and what the search is compared to.
    """
    listed = {key: values for key in _OF_CROPS if isinstance(values := search.vary.get(key), list)}
    combinations = [
        dict(zip(listed, values, strict=True)) for values in itertools.product(*listed.values())
    ]
    return [*bases, *(settings_with(base, c) for base in bases for c in combinations)]


def not_searched(search: Search, base: InferenceSettings) -> dict[str, Any]:
    """The settings that no trial changes."""
    searched = {key.removeprefix(_PREFIX) for key in search.vary}
    return {name: value for name, value in asdict(base).items() if name not in searched}
