"""The part of a recipe that a stage of the workflow depends on, as a file.

A rule hands its stage's part to its script as a JSON file named by its contents; Snakemake runs the
rule again when that name changes. A key that is not in a part cannot change what the stage makes.
"""

import json
from pathlib import Path

from pydantic import ValidationError

from scan_core.errors import InputError
from scan_core.params.schema.clip import Clip
from scan_core.params.schema.clip_finetune import ClipFinetune
from scan_core.params.schema.fields import Block
from scan_core.params.schema.released_defects import ReleasedDefects
from scan_core.params.schema.segmenter import Segmenter
from scan_core.storage.addressed import write_addressed


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


def write_part(part: RecipePart, folder: Path) -> Path:
    """Write a part to a file that is named by its contents, and return the file."""
    return write_addressed(folder, as_text(part))


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
