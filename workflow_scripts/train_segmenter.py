"""Train the segmenter: Swin, decoders and semantic integration, with CLIP frozen."""

import logging
from pathlib import Path

from scan_core.params.command_line import run as run_command
from scan_core.params.provenance import imported_file, provenance
from scan_core.params.recipe_part import read_part
from scan_core.params.schema.fields import weights_file
from scan_core.storage.files import write_text
from scan_core.tracking.live import live_run


def train_segmenter(
    recipe_part: Path,
    clip: Path,
    index: Path,
    output: Path,
    metrics: Path,
    work: Path,
    backbone: Path | None = None,
    initial_weights: str = "none",
    run: str | None = None,
    code: str = "",
    devices: str = "auto",
    nodes: int = 1,
    workers: int = 1,
    micro_batches: int = 1,
) -> None:
    """Train the segmenter: Swin, decoders and semantic integration, with CLIP frozen.

    Args:
        recipe_part: JSON file of the segmenter stage.
        clip: weights from clip_weights.
        index: of the training benchmark.
        output: .safetensors file to write.
        metrics: record of the training to write.
        work: folder for checkpoints; the same command continues from them.
        backbone: ImageNet weights of Swin.
        initial_weights: KIND:FILE of weights to start from, or none.
        run: name in MLflow, RECIPE/STAGE/VARIANT; see SCAN_TRACKING.
        code: hash of the code, for the record.
        devices: per node: a number, or `auto`.
        nodes: machines.
        workers: processes that read images, per device.
        micro_batches: per step and device (gradient accumulation).
    """
    from scan_core.inference.assembly import segmenter_weights
    from scan_core.storage.weights import save_tensors
    from scan_core.training import segmenter
    from scan_core.training.loop import finish

    part = read_part(recipe_part)
    with live_run(run, recipe_part, work) as live:
        scan, record, is_first = segmenter.train_segmenter(
            part, clip, backbone, index, work, devices, nodes, workers, micro_batches, live,
            initial_weights,
        )  # fmt: skip
    if is_first:
        write_text(metrics, record.read_text(encoding="utf-8"))
        start = weights_file(initial_weights)
        files = {"initial_weights": imported_file(start[0], Path(start[1]))} if start else {}
        made_by = provenance("train_segmenter", code, part.model_dump(), {"imported": files})
        header = {**scan.header, **made_by}
        save_tensors(output, segmenter_weights(scan.network), header)
        finish(work)
        logging.info("made %s", output)


if __name__ == "__main__":
    run_command(train_segmenter)
