"""What of a recipe each stage of the workflow depends on."""

from typing import Any

from scan_core.params.recipe_part import RecipePart
from scan_core.params.schema.recipe import Recipe
from scan_core.params.schema.released_defects import ReleasedDefects


def clip_part(recipe: Recipe) -> RecipePart:
    """For CLIP's weights: its source, architecture and pre-training; prompts are put in later."""
    neutral = recipe.clip.model_copy(update={"prompts": "vild"})
    if neutral.source != "train":
        neutral = neutral.model_copy(update={"pretraining": None})
    return _part(recipe, clip=neutral, defects=_no_defects())


def segmenter_part(recipe: Recipe) -> RecipePart:
    """For the training of the segmenter."""
    return _part(recipe, segmenter=recipe.segmenter)


def pairs_part(recipe: Recipe) -> RecipePart:
    """For mining pairs: of the fine-tuning, what says which pairs are mined.

    Args:
        recipe: whose segmenter proposes the masks.
    """
    neutral = {
        "contextual_shift": True,
        "loss": "diagonal",
        "epochs": 1,
        "batch_size": 1,
        "learning_rate": 1.0,
        "weight_decay": 0.0,
        "warmup_steps": 0,
        "replace_ratio": 0.0,
        "replace_layers": [],
        "precision": "32-true",
    }
    return _part(
        recipe,
        segmenter=recipe.segmenter,
        clip_finetune=recipe.clip_finetune.model_copy(update=neutral),
    )


def finetune_part(recipe: Recipe) -> RecipePart:
    """For fine-tuning CLIP on the pairs.

    Args:
        recipe: whose segmenter proposed the masks.
    """
    return model_part(recipe)


def model_part(recipe: Recipe) -> RecipePart:
    """For the model of segmenter and CLIPs."""
    return _part(
        recipe,
        segmenter=recipe.segmenter,
        clip_finetune=recipe.clip_finetune,
    )


def _part(recipe: Recipe, **blocks: Any) -> RecipePart:
    values: dict[str, Any] = {
        "seed": recipe.seed,
        "defects": recipe.defects,
        "clip": recipe.clip,
        "segmenter": None,
        "clip_finetune": None,
        **blocks,
    }
    return RecipePart(**values)


def _no_defects() -> ReleasedDefects:
    return ReleasedDefects(**dict.fromkeys(ReleasedDefects.model_fields, False))
