"""The small CLIP that comes with the package, in half precision, with its card."""

from pathlib import Path

from scan_core.params.command_line import run

_SEGMENTS = 2000  # freshly drawn ones that it is tested on


def package_clip(clip: Path, output: Path, card: Path) -> None:
    """The small CLIP that comes with the package, in half precision, with its card.

    Args:
        clip: weights from clip_weights.
        output: .safetensors file to write.
        card: .md file to write.
    """
    from scan_core.models.checkpoints import load_strict
    from scan_core.models.clip import build_clip, tokenizer_for
    from scan_core.models.packaged.files import load_packaged, save_packaged
    from scan_core.storage.files import write_text
    from scan_core.storage.weights import load_tensors
    from scan_core.training import packaged_clip

    tensors, header = load_tensors(clip)
    architecture = header["clip"]["architecture"]
    tokenizer = tokenizer_for(architecture)
    tokens = packaged_clip.tokens_of_the_world(tokenizer)
    save_packaged(output, tensors, header, tokens)
    packed = build_clip(architecture)
    load_strict(packed, load_packaged(output)[0], str(output))
    shares = packaged_clip.zero_shot_accuracy(packed, tokenizer, _SEGMENTS)
    accuracy = {"number": _SEGMENTS, **shares}
    save_packaged(output, tensors, {**header, "accuracy": accuracy}, tokens)
    write_text(card, packaged_clip.card(output.stem, packed, header, accuracy, len(tokens)))


if __name__ == "__main__":
    run(package_clip)
