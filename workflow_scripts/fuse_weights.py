"""One model of three parts: the segmenter, the fine-tuned CLIP, the CLIP before fine-tuning."""

import argparse
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.params.recipe_part import read_part


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument(
        "--recipe-part", type=Path, required=True, help="JSON file, of the fine-tuning stage"
    )
    result.add_argument("--clip", type=Path, required=True, help="made by clip_weights")
    result.add_argument("--segmenter", type=Path, required=True, help="made by train_segmenter")
    result.add_argument("--finetuned", type=Path, required=True, help="made by finetune_clip")
    result.add_argument("--manifest", type=Path, required=True, help="of the datasets")
    result.add_argument("--output", type=Path, required=True, help="a .safetensors file")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Fuse, and save."""
    from scan_core.inference.assembly import assemble, weights_header
    from scan_core.models.checkpoints import load_strict, save_network
    from scan_core.provenance.versions import provenance
    from scan_core.storage.tensors import load_tensors

    part = read_part(arguments.recipe_part)
    scan = assemble(part, arguments.clip, arguments.segmenter)
    tensors, _ = load_tensors(arguments.finetuned)
    load_strict(scan.network.clip, tensors, str(arguments.finetuned))
    header = {**weights_header(part), **provenance(arguments.manifest)}
    save_network(arguments.output, scan.network, header)
    logging.info("made %s", arguments.output)


if __name__ == "__main__":
    run(parser(), main)
