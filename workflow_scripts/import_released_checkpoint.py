"""Bring released weights into this project's format: SCAN.pth, CS_CLIP.pt, a Swin .pkl."""

import logging
from pathlib import Path

from scan_core.errors import InputError
from scan_core.params.command_line import run
from scan_core.params.reading import read_params, validate


def import_released_checkpoint(
    recipe: str, checkpoint: list[str], output: Path, params: Path = Path("params.yaml")
) -> None:
    """Bring released weights into this project's format: SCAN.pth, CS_CLIP.pt, a Swin .pkl.

    Several checkpoints are laid over each other in the order given. No code in them is run, and one
    that does not fit the recipe is refused with a list of the keys.

    Args:
        recipe: name, whose architecture the weights have.
        checkpoint: KIND:FILE ..., with KIND one of scan, mask2former, finetuned_clip, backbone.
        output: .safetensors file to write.
        params: file of the recipes.
    """
    from scan_core.inference.scan import Scan  # torch takes seconds to import
    from scan_core.models.checkpoints import KINDS, import_foreign

    recipes = validate(read_params(params), str(params)).recipes
    if recipe not in recipes:
        raise InputError(f"recipe '{recipe}' is unknown; there are {', '.join(recipes)}")
    given = [one.partition(":") for one in checkpoint]
    for (kind, _, path), text in zip(given, checkpoint, strict=True):
        if kind not in KINDS or not path:
            expected = f"expected KIND:FILE with KIND one of {', '.join(KINDS)}"
            raise InputError(f"--checkpoint {text}: {expected}")
    scan = Scan.from_recipe(recipes[recipe])
    for kind, _, path in given:
        report = import_foreign(scan.network, Path(path), kind)
        logging.info("%s as %s: %s", path, kind, report)
    scan.save(output, recipe=recipe)


if __name__ == "__main__":
    run(import_released_checkpoint)
