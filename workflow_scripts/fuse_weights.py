"""One model of three parts: the segmenter, the fine-tuned CLIP, the CLIP before fine-tuning."""

from pathlib import Path

from scan_core.params.command_line import run
from scan_core.params.provenance import provenance
from scan_core.params.recipe_part import read_part


def fuse_weights(
    recipe_part: Path,
    clip: Path,
    segmenter: Path,
    finetuned: Path,
    output: Path,
    index: Path | None = None,
    code: str = "",
) -> None:
    """One model of three parts: the segmenter, the fine-tuned CLIP, the CLIP before fine-tuning.

    Args:
        recipe_part: JSON file of the model's stage.
        clip: weights from clip_weights.
        segmenter: weights from train_segmenter.
        finetuned: weights from finetune_clip.
        output: .safetensors file to write.
        index: of the training benchmark, unless all weights come from files.
        code: hash of the code, for the record.
    """
    from scan_core.inference.assembly import assemble
    from scan_core.models.checkpoints import load_strict
    from scan_core.storage.files import file_digest
    from scan_core.storage.weights import load_tensors, save_tensors

    part = read_part(recipe_part)
    scan = assemble(part, clip, segmenter)
    tensors, tuned = load_tensors(finetuned)
    load_strict(scan.network.clip, tensors, str(finetuned))
    headers = (load_tensors(clip)[1], load_tensors(segmenter)[1], tuned)
    made_by = provenance("fuse_weights", code, part.model_dump(), *headers)
    data = {"data": file_digest(index)} if index else {}
    header = {**scan.header, **made_by, **data}
    del header["test_settings"]  # those of the training
    save_tensors(output, scan.network.state_dict(), header)


if __name__ == "__main__":
    run(fuse_weights)
