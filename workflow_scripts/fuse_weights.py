"""One model of three parts: the segmenter, the fine-tuned CLIP, the CLIP before fine-tuning."""

import logging
from pathlib import Path

from scan_core.params.command_line import run
from scan_core.params.recipe_part import read_part


def fuse_weights(
    recipe_part: Path,
    clip: Path,
    segmenter: Path,
    finetuned: Path,
    manifest: Path,
    output: Path,
) -> None:
    """One model of three parts: the segmenter, the fine-tuned CLIP, the CLIP before fine-tuning.

    Args:
        recipe_part: JSON file of the model's stage.
        clip: weights from clip_weights.
        segmenter: weights from train_segmenter.
        finetuned: weights from finetune_clip.
        manifest: of the datasets.
        output: .safetensors file to write.
    """
    from scan_core.inference.assembly import assemble, weights_header
    from scan_core.models.checkpoints import load_strict, save_network
    from scan_core.provenance.versions import provenance
    from scan_core.storage.weights import load_tensors

    part = read_part(recipe_part)
    scan = assemble(part, clip, segmenter)
    tensors, _ = load_tensors(finetuned)
    load_strict(scan.network.clip, tensors, str(finetuned))
    save_network(output, scan.network, {**weights_header(part), **provenance(manifest)})
    logging.info("made %s", output)


if __name__ == "__main__":
    run(fuse_weights)
