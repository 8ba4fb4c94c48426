"""Bring weights from elsewhere into this project's format: SCAN.pth, CS_CLIP.pt, a Swin .pkl."""

import logging
from pathlib import Path

from scan_core.errors import InputError
from scan_core.params.command_line import run
from scan_core.params.provenance import imported_file, provenance
from scan_core.params.reading import read_params, validate
from scan_core.params.recipe_part import read_part


def import_weights(
    checkpoint: list[str],
    output: Path,
    recipe: str | None = None,
    params: Path = Path("params.yaml"),
    stage: str | None = None,
    recipe_part: Path | None = None,
    code: str = "",
) -> None:
    """Bring weights from elsewhere into this project's format: SCAN.pth, CS_CLIP.pt, a Swin .pkl.

    With --recipe several checkpoints are laid over each other in the order given and become a whole
    model. With --stage and --recipe-part one of them becomes the result of a stage of the workflow.
    No code in them is run, and one that does not fit is refused with a list of the keys.

    Args:
        checkpoint: KIND:FILE ..., with KIND one of scan, mask2former, finetuned_clip, backbone,
            clip, segmenter, model.
        output: .safetensors file to write.
        recipe: name, whose architecture the weights have.
        params: file of the recipes.
        stage: clip, segmenter or finetuned_clip.
        recipe_part: JSON file of the stage.
        code: hash of the code, for the record.
    """
    from scan_core.inference.scan import Scan  # torch takes seconds to import
    from scan_core.models.build import architecture_of, clip_architecture
    from scan_core.models.checkpoints import KINDS, import_foreign, stage_weights
    from scan_core.storage.weights import save_tensors

    given = [(kind, Path(path)) for kind, _, path in (one.partition(":") for one in checkpoint)]
    for (kind, path), text in zip(given, checkpoint, strict=True):
        if kind not in KINDS or path == Path():
            raise InputError(
                f"--checkpoint {text}: expected KIND:FILE with KIND one of {', '.join(KINDS)}"
            )
    if recipe_part is not None and stage is not None:
        part, ((kind, path),) = read_part(recipe_part), given
        architecture = clip_architecture(part.clip)
        if part.segmenter is not None:
            architecture = architecture_of(part.segmenter, part.clip)
        imported = {"imported": {stage: imported_file(kind, path)}}
        made_by = provenance("import_weights", code, part.model_dump(), imported)
        tensors = stage_weights(stage, path, kind, architecture)
        save_tensors(output, tensors, {"architecture": architecture, **made_by})
    else:
        recipes = validate(read_params(params), str(params)).recipes
        if recipe not in recipes:
            raise InputError(f"--recipe {recipe}: unknown; there are {', '.join(recipes)}")
        scan = Scan.from_recipe(recipes[recipe])
        for kind, path in given:
            logging.info("%s as %s: %s", path, kind, import_foreign(scan.network, path, kind))
        files = {f"{kind}:{path}": imported_file(kind, path) for kind, path in given}
        scan.save(output, recipe=recipe, imported=files)
    logging.info("made %s", output)


if __name__ == "__main__":
    run(import_weights)
