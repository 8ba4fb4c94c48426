"""Fine-tune CLIP's image encoder on masked crops and their nouns, with contextual shift."""

from pathlib import Path

from scan_core.params.command_line import run as run_command
from scan_core.params.provenance import provenance
from scan_core.params.recipe_part import read_part
from scan_core.storage.files import read_json, write_text
from scan_core.tracking.live import live_run


def finetune_clip(
    recipe_part: Path,
    clip: Path,
    pairs: Path,
    index: Path,
    output: Path,
    metrics: Path,
    work: Path,
    run: str | None = None,
    code: str = "",
    devices: str = "auto",
    nodes: int = 1,
    workers: int = 1,
) -> None:
    """Fine-tune CLIP's image encoder on masked crops and their nouns, with contextual shift.

    Args:
        recipe_part: JSON file of the fine-tuning stage.
        clip: weights from clip_weights.
        pairs: file from mine_mask_text_pairs, with its statistics.json beside it.
        index: of the training benchmark.
        output: .safetensors file to write.
        metrics: record of the training to write.
        work: folder for checkpoints; the same command continues from them.
        run: name in MLflow, RECIPE/STAGE/VARIANT; see SCAN_TRACKING.
        code: hash of the code, for the record.
        devices: per node: a number, or `auto`.
        nodes: machines.
        workers: processes that read images, per device.
    """
    from scan_core.storage.weights import save_tensors
    from scan_core.training import clip_finetune
    from scan_core.training.loop import finish

    part = read_part(recipe_part)
    with live_run(run, recipe_part, work) as live:
        scan, record, is_first = clip_finetune.finetune_clip(
            part, clip, pairs, index, work, devices, nodes, workers, live
        )
    if is_first:
        write_text(metrics, record.read_text(encoding="utf-8"))
        mined = read_json(pairs.with_name("statistics.json"), "merge the shards again")
        made_by = provenance("finetune_clip", code, part.model_dump(), mined)
        header = {"clip": part.clip.model_dump(), **made_by}
        save_tensors(output, scan.network.clip.state_dict(), header)
        finish(work)


if __name__ == "__main__":
    run_command(finetune_clip)
