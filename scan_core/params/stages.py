"""The part of a recipe that each stage of the workflow depends on, and nothing else.

A rule hands its stage's part to its script as a JSON file named by its contents; Snakemake runs the
rule again when that name changes. A key that is not in a part cannot change what the stage makes.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scan_core.errors import InputError
from scan_core.params.schema.clip import Clip
from scan_core.params.schema.clip_finetune import ClipFinetune
from scan_core.params.schema.fields import Block
from scan_core.params.schema.recipe import Recipe
from scan_core.params.schema.released_defects import ReleasedDefects
from scan_core.params.schema.segmenter import Segmenter
from scan_core.storage.atomic import write_text


class ImageSettings(Block):
    """How images and similarities are treated, at training and at test time alike."""

    short_side: int
    """See `inference.short_side`."""
    longest_side: int
    """See `inference.longest_side`."""
    logit_scale: float | str
    """See `inference.logit_scale`."""
    crop_threshold: float | str
    """See `inference.crop_threshold`."""
    crop_expansion: float
    """See `inference.crop_expansion`."""


class RecipePart(Block):
    """A stage's part of a recipe; what the stage does not depend on is null."""

    seed: int
    defects: ReleasedDefects
    clip: Clip
    segmenter: Segmenter | None
    clip_finetune: ClipFinetune | None
    images: ImageSettings | None


def clip_part(recipe: Recipe) -> RecipePart:
    """For CLIP's weights: its source, architecture and pre-training; prompts are put in later."""
    neutral = recipe.clip.model_copy(update={"prompts": "vild"})
    if neutral.source != "train":
        neutral = neutral.model_copy(update={"pretraining": None})
    return _part(recipe, clip=neutral, defects=_no_defects())


def segmenter_part(recipe: Recipe) -> RecipePart:
    """For the training of the segmenter."""
    return _part(recipe, segmenter=recipe.segmenter, images=_images(recipe))


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
        images=_images(recipe),
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
        images=_images(recipe),
        clip_finetune=recipe.clip_finetune,
    )


def as_text(part: RecipePart) -> str:
    """JSON, the same for equal parts."""
    return json.dumps(part.model_dump(), sort_keys=True)


def write_part(part: RecipePart, folder: Path) -> Path:
    """Write a part to a file that is named by its contents, and return the file.

    Args:
        part: of a recipe.
        folder: of such files.
    """
    text = as_text(part)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if not path.is_file():
        write_text(path, text)
    return path


def read_part(path: Path) -> RecipePart:
    """Read a file of `write_part`.

    Raises:
        InputError: unreadable, not JSON, or not a part of a recipe.
    """
    try:
        return RecipePart.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"recipe part {path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        reason = f"{where}: {problem['msg']}" if where else problem["msg"]
        raise InputError(
            f"{path}: expected a recipe's part as JSON, as the rules write it; {reason}"
        ) from None


def _part(recipe: Recipe, **blocks: Any) -> RecipePart:
    values: dict[str, Any] = {
        "seed": recipe.seed,
        "defects": recipe.defects,
        "clip": recipe.clip,
        "segmenter": None,
        "clip_finetune": None,
        "images": None,
        **blocks,
    }
    return RecipePart(**values)


def _images(recipe: Recipe) -> ImageSettings:
    test = recipe.inference
    return ImageSettings(
        short_side=test.short_side,
        longest_side=test.longest_side,
        logit_scale=test.logit_scale,
        crop_threshold=test.crop_threshold,
        crop_expansion=test.crop_expansion,
    )


def _no_defects() -> ReleasedDefects:
    return ReleasedDefects(**dict.fromkeys(ReleasedDefects.model_fields, False))
