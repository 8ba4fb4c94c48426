"""CLIP's weights: trained on the miniature world's captions, from open_clip, or from a file."""

from pathlib import Path

from scan_core.params.command_line import run as run_command
from scan_core.params.provenance import provenance
from scan_core.params.recipe_part import read_part
from scan_core.storage.files import write_text
from scan_core.tracking.live import live_run


def clip_weights(
    recipe_part: Path,
    output: Path,
    metrics: Path,
    work: Path,
    workers: int = 1,
    run: str | None = None,
    code: str = "",
) -> None:
    """CLIP's weights: trained on the miniature world's captions, from open_clip, or from a file.

    Args:
        recipe_part: JSON file of the clip stage.
        output: .safetensors file to write.
        metrics: record of the training to write.
        work: folder for checkpoints.
        workers: processes that draw pictures.
        run: name in MLflow, RECIPE/STAGE/VARIANT; see SCAN_TRACKING.
        code: hash of the code, for the record.
    """
    from scan_core.storage.weights import save_tensors
    from scan_core.training.clip_source import obtain_clip
    from scan_core.training.loop import finish
    from scan_core.training.processes import launch_fabric

    part = read_part(recipe_part)
    fabric = launch_fabric("32-true", devices="1", nodes=1)
    with live_run(run, recipe_part, work) as live:
        clip, record = obtain_clip(fabric, part.clip, part.seed, work, workers, live)
    write_text(metrics, "" if record is None else record.read_text(encoding="utf-8"))
    made_by = provenance("clip_weights", code, part.model_dump())
    header = {"clip": part.clip.model_dump(), "seed": part.seed, **made_by}
    save_tensors(output, clip.state_dict(), header)
    finish(work)


if __name__ == "__main__":
    run_command(clip_weights)
