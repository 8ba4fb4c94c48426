"""The small CLIP that comes with the package, in half precision, with its card."""

import argparse
import logging
from pathlib import Path

from scan_core.command.command_line import run

SEGMENTS = 2000  # freshly drawn, that it is tried on


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--clip", type=Path, required=True, help="made by clip_weights")
    result.add_argument("--output", type=Path, required=True, help="a .safetensors file")
    result.add_argument("--card", type=Path, required=True, help="a .md file")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Pack, try what was packed, and write."""
    from scan_core.models.checkpoints import load_strict
    from scan_core.models.clip import build_clip, tokenizer_for
    from scan_core.models.packaged.files import load_packaged, save_packaged
    from scan_core.storage.atomic import write_text  # torch takes seconds to import
    from scan_core.storage.tensors import load_tensors
    from scan_core.training.packaged_clip import card, tokens_of_the_world
    from scan_core.training.zero_shot import zero_shot_accuracy

    tensors, header = load_tensors(arguments.clip)
    architecture = header["clip"]["architecture"]
    tokenizer = tokenizer_for(architecture)
    tokens = tokens_of_the_world(tokenizer)
    save_packaged(arguments.output, tensors, header, tokens)
    clip = build_clip(architecture)
    load_strict(clip, load_packaged(arguments.output)[0], str(arguments.output))
    accuracy = {"number": SEGMENTS, **zero_shot_accuracy(clip, tokenizer, SEGMENTS)}
    save_packaged(arguments.output, tensors, {**header, "accuracy": accuracy}, tokens)
    write_text(arguments.card, card(clip, header, accuracy, len(tokens)))
    logging.info("%s", accuracy)


if __name__ == "__main__":
    run(parser(), main)
