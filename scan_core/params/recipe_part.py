"""What of a recipe each stage of the workflow depends on.

A rule hands its stage's part to its script as a JSON file. A key that is not in a part cannot
change what the stage makes.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scan_core.errors import InputError, worded
from scan_core.params.own_files import known
from scan_core.params.schema.clip import Clip, ClipFinetune
from scan_core.params.schema.fields import Block, weights_file
from scan_core.params.schema.recipe import Recipe, ReleasedDefects
from scan_core.params.schema.segmenter import Segmenter
from scan_core.storage.files import json_digest, read_text, write_text


class RecipePart(Block):
    """A stage's part of a recipe; what the stage does not depend on is null."""

    seed: int
    defects: ReleasedDefects
    clip: Clip
    segmenter: Segmenter | None
    clip_finetune: ClipFinetune | None


def as_text(part: RecipePart) -> str:
    """JSON, the same for equal parts."""
    return json.dumps(part.model_dump(), sort_keys=True)


def as_file(document: Any, folder: Path) -> Path:
    """Write a document to a JSON file that is named by its contents, and return the file.

    It is longer than a command line may be. As a parameter of a rule, another document is another
    name, by which Snakemake notices it.
    """
    path = folder / f"{json_digest(document)[:16]}.json"
    if not path.is_file():
        write_text(path, json.dumps(document, sort_keys=True))
    return path


def write_part(part: RecipePart, folder: Path) -> Path:
    """Write a part to a file of `as_file`."""
    return as_file(part.model_dump(), folder)


def read_part(path: Path) -> RecipePart:
    """Read a part that a rule has written.

    Raises:
        InputError: unreadable, not JSON, or not a part of a recipe.
    """
    try:
        return RecipePart.model_validate_json(read_text(path))
    except ValidationError as error:
        raise InputError(
            f"{path}: expected a recipe's part as JSON, as the rules write it; "
            f"{worded(error.errors()[0])}"
        ) from None


def clip_part(recipe: Recipe) -> RecipePart:
    """For CLIP's weights: its source, architecture and pre-training; prompts are put in later."""
    if "clip" in recipe.imported:
        return _imported_part(recipe, "clip")
    neutral = recipe.clip.model_copy(update={"prompts": "vild"})
    if neutral.source != "train":
        neutral = neutral.model_copy(update={"pretraining": None})
    return _part(recipe, clip=neutral, defects=_NO_DEFECTS)


def segmenter_part(recipe: Recipe) -> RecipePart:
    """For the training of the segmenter, or for its weights from a file."""
    if "segmenter" in recipe.imported:
        return _imported_part(recipe, "segmenter")
    return _part(recipe, segmenter=_segmenter(recipe))


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
    tuning = recipe.clip_finetune.model_copy(update=neutral)
    return _part(recipe, segmenter=_segmenter(recipe), clip_finetune=tuning)


def finetuned_clip_part(recipe: Recipe) -> RecipePart:
    """For fine-tuning CLIP on the pairs, or for a fine-tuned one from a file."""
    if "finetuned_clip" in recipe.imported:
        return _imported_part(recipe, "finetuned_clip")
    return model_part(recipe)


def model_part(recipe: Recipe) -> RecipePart:
    """For the model of segmenter and CLIPs."""
    tuned_here = "finetuned_clip" not in recipe.imported
    tuning = recipe.clip_finetune if tuned_here else None
    return _part(recipe, segmenter=_segmenter(recipe), clip_finetune=tuning)


_NO_DEFECTS = ReleasedDefects(**dict.fromkeys(ReleasedDefects.model_fields, False))


def _imported_part(recipe: Recipe, stage: str) -> RecipePart:
    """For weights from a file: the architecture that they have to fit, and nothing else."""
    neutral = {"source": "clip:-", "prompts": "vild", "pretraining": None, "pretrained": "none"}
    clip = recipe.clip.model_copy(update=neutral)
    segmenter = _segmenter(recipe) if stage == "segmenter" else None
    return _part(recipe, seed=0, defects=_NO_DEFECTS, clip=clip, segmenter=segmenter)


def _segmenter(recipe: Recipe) -> Segmenter:
    """With contents in place of the paths of weights, and neutral where no training reads it."""
    segmenter = recipe.segmenter
    source, initial = by_content(segmenter.source), by_content(segmenter.initial_weights)
    values: dict[str, Any] = {"source": source, "initial_weights": initial}
    if "segmenter" in recipe.imported:
        values |= {name: _ones(getattr(segmenter, name)) for name in _OF_TRAINING}
        values |= {"initial_weights": "none", "logit_scale": 1.0}
        values["backbone"] = segmenter.backbone.model_copy(update={"weights": "none"})
    return segmenter.model_copy(update=values)


_OF_TRAINING = ("input", "loss", "augmentation", "training")


def _ones(block: Block) -> Block:
    """A block with 1 in place of every number."""

    def neutral(value: Any) -> Any:
        if isinstance(value, list):
            return [1] * len(value)
        return "32-true" if isinstance(value, str) else False if isinstance(value, bool) else 1

    values = {key: neutral(value) for key, value in block.model_dump().items()}
    return type(block).model_validate(values)


def by_content(source: str) -> str:
    """A source of weights with its file's digest in place of the path, which does not count."""
    file = weights_file(source)
    return f"{file[0]}:{known(file[1])}" if file else source


def _part(recipe: Recipe, **blocks: Any) -> RecipePart:
    clip = recipe.clip.model_copy(update={"source": by_content(recipe.clip.source)})
    values = {"seed": recipe.seed, "defects": recipe.defects, "clip": clip}
    return RecipePart(**{**values, "segmenter": None, "clip_finetune": None, **blocks})
