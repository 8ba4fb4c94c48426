"""Which models a workflow makes: the recipe's own, and one for every cell of its grids.

A variant is named by its seed and by those varied keys that its stage depends on
(`seed=0,semantic_integration.enabled=false`), so cells that agree in what a stage depends on
share what it makes.

CLIP is fine-tuned on masks of the recipe's own segmenter, whatever a grid varies of the segmenter:
as in the paper, where one fine-tuned CLIP serves all segmenters, a grid over `segmenter` compares
segmenters and nothing else.
"""

import itertools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scan_core.params.reading import override
from scan_core.params.schema.grids import Ablation
from scan_core.params.schema.inference import Inference
from scan_core.params.schema.recipe import Recipe
from scan_core.params.stages import (
    RecipePart,
    as_text,
    clip_part,
    finetune_part,
    model_part,
    pairs_part,
    segmenter_part,
)

_AT_TEST_TIME = "inference."
# Keys of `inference` that training depends on as well.
_AT_TRAINING_TOO = (
    "inference.short_side",
    "inference.longest_side",
    "inference.logit_scale",
    "inference.crop_threshold",
    "inference.crop_expansion",
)


@dataclass(frozen=True)
class Cell:
    """One combination of a grid's values, with one seed.

    Attributes:
        values: key path -> varied value.
        seed: of the training.
        names: stage -> the variant that the cell uses: `clip`, `segmenter`, `miner` (the segmenter
            that proposes masks to fine-tune CLIP on), `pairs`, `finetuned`, `model`.
        recipe: with all values and the seed put in.
        mining_recipe: the same, but for what the grid varies of the segmenter.
    """

    values: Mapping[str, Any]
    seed: int
    names: Mapping[str, str]
    recipe: Recipe
    mining_recipe: Recipe

    def part(self, stage: str) -> RecipePart:
        """Of the recipe, what a stage depends on; see `names`."""
        of_segmenter = {"clip": clip_part, "segmenter": segmenter_part, "model": model_part}
        if stage in of_segmenter:
            return of_segmenter[stage](self.recipe)
        of_miner = {"miner": segmenter_part, "pairs": pairs_part, "finetuned": finetune_part}
        return of_miner[stage](self.mining_recipe)


def cell_of(
    recipe: Recipe,
    values: Mapping[str, Any],
    seed: int,
    fixed: Mapping[str, Any] | None = None,
) -> Cell:
    """A cell.

    Args:
        recipe: to start from.
        values: key path -> varied value.
        seed: of the training.
        fixed: key path -> value that all cells of a grid have.
    """
    base = recipe.model_copy(update={"seed": seed})
    every = {**(fixed or {}), **values}
    mining = {key: every[key] for key in every if key in (fixed or {}) or not _of_segmenter(key)}
    names = {
        "clip": _name(base, clip_part, every, seed),
        "segmenter": _name(base, segmenter_part, every, seed),
        "miner": _name(base, segmenter_part, mining, seed),
        "pairs": _name(base, pairs_part, mining, seed),
        "finetuned": _name(base, finetune_part, mining, seed),
        "model": _name(base, model_part, every, seed),
    }
    return Cell(values, seed, names, _with(base, every), _with(base, mining))


def cells_of(recipe: Recipe, grid: Ablation) -> list[Cell]:
    """All cells of a grid, every combination with every seed, the recipe's own included."""
    keys = list(grid.vary)
    combinations = itertools.product(*grid.vary.values())
    return [
        cell_of(recipe, dict(zip(keys, combination, strict=True)), seed, grid.fixed)
        for combination in combinations
        for seed in sorted({*grid.seeds, recipe.seed})
    ]


def _of_segmenter(key: str) -> bool:
    return key.startswith("segmenter.")


def needs_training(grid: Ablation) -> bool:
    """Whether cells of the grid differ in more than test-time settings."""
    return any(not key.startswith(_AT_TEST_TIME) or key in _AT_TRAINING_TOO for key in grid.vary)


def test_settings(recipe: Recipe, benchmark: str) -> dict[str, Any]:
    """Settings of one benchmark, as `InferenceSettings` takes them.

    A model that was fine-tuned without contextual shift is tested without it.

    Args:
        recipe: of the cell.
        benchmark: its name.
    """
    inference: Inference = recipe.inference
    chosen = {}
    for key in ("mask_threshold", "clip_weight", "replace_ratio", "ensemble"):
        value = getattr(inference, key)
        chosen[key] = value[benchmark] if isinstance(value, dict) else value
    threshold = inference.crop_threshold
    chosen["crop_threshold"] = None if isinstance(threshold, str) else threshold
    chosen["prompts"] = None if inference.prompts == "trained" else inference.prompts
    if not recipe.clip_finetune.contextual_shift:
        chosen["replace_ratio"] = 0.0
    return chosen


def _with(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    document = recipe.model_dump()
    for key, value in values.items():
        document = override(document, key, value)
    return Recipe.model_validate(document)


def _name(
    base: Recipe, part: Callable[[Recipe], RecipePart], values: Mapping[str, Any], seed: int
) -> str:
    unchanged = as_text(part(base))
    words = [f"seed={seed}"]
    for key, value in values.items():
        if as_text(part(_with(base, {key: value}))) != unchanged:
            words.append(f"{key.split('.', 1)[-1]}={_word(value)}")
    return ",".join(words)


def _word(value: Any) -> str:
    """A value as a part of a file's name: letters, digits, `.`, `-` and `_`."""
    text = json.dumps(value).replace(", ", "-")
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("_")
