"""Models put together from what the stages of the workflow make."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scan_core.errors import InputError
from scan_core.inference.scan import Scan
from scan_core.models.build import architecture_of, build_network
from scan_core.models.checkpoints import load_strict
from scan_core.models.clip import tokenizer_for
from scan_core.params.recipe_part import RecipePart
from scan_core.params.settings import SettingsTable, training_settings
from scan_core.storage.weights import load_tensors

_CLIP_PARTS = ("clip.", "original_clip.")


def assemble(
    part: RecipePart, clip_file: Path, segmenter_file: Path | None = None, **options: Any
) -> Scan:
    """A model with CLIP's weights, and a segmenter's if there is one.

    Args:
        part: of a stage that has a segmenter.
        clip_file: made by `clip_weights`; it becomes both of the network's CLIPs.
        segmenter_file: made by `train_segmenter`; None: random weights, from the part's seed.
        options: see `Scan`.

    Raises:
        InputError: a file is unreadable or does not fit the part, or this has no segmenter.
    """
    if part.segmenter is None:
        raise InputError("--recipe-part: this stage needs the key 'segmenter'")
    while_training = training_settings(part.segmenter, part.clip, part.clip_finetune)
    header: dict[str, Any] = {
        "architecture": architecture_of(part.segmenter, part.clip),
        "prompts": part.clip.prompts,
        "seed": part.seed,
        "defects": part.defects.model_dump(),
        "test_settings": SettingsTable(while_training, {}).as_dict(),
    }
    torch.manual_seed(part.seed)
    network = build_network(header["architecture"], "meta" if segmenter_file else "cpu")
    clip, _ = load_tensors(clip_file)
    load_strict(network.clip, clip, str(clip_file))
    visual = {
        name.removeprefix("visual."): tensor.clone()  # the two towers share no memory
        for name, tensor in clip.items()
        if name.startswith("visual.")
    }
    load_strict(network.original_clip, visual, str(clip_file))
    if segmenter_file is not None:
        segmenter, _ = load_tensors(segmenter_file)
        both = {n: t for n, t in network.state_dict().items() if n.startswith(_CLIP_PARTS)}
        load_strict(network, {**both, **segmenter}, str(segmenter_file))
    return Scan(network, tokenizer_for(header["architecture"]["clip"]), header, **options)


def segmenter_weights(network: nn.Module) -> dict[str, Tensor]:
    """Everything of a network but CLIP."""
    return {n: t for n, t in network.state_dict().items() if not n.startswith(_CLIP_PARTS)}
