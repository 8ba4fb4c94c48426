"""The network that a recipe describes."""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from scan_core.errors import InputError
from scan_core.models.clip import Tokenizer, blocks, build_clip, clip_dimensions, wanted_by
from scan_core.models.mask_decoder import MaskDecoder
from scan_core.models.pixel_decoder import PixelDecoder
from scan_core.models.proposal_network import ProposalNetwork
from scan_core.models.scan import ScanNetwork
from scan_core.models.semantic_integration import SemanticIntegration
from scan_core.models.swin import SwinBackbone
from scan_core.params.schema.clip import Clip, ClipArchitecture
from scan_core.params.schema.segmenter import Segmenter

_PARTS = ("backbone", "pixel_decoder", "mask_decoder", "semantic_integration")


def architecture_of(segmenter: Segmenter, clip: Clip) -> dict[str, Any]:
    """What of a recipe fixes the names, shapes and use of all weights, as plain values."""
    architecture: dict[str, Any] = {
        part: getattr(segmenter, part).model_dump(exclude={"weights"}) for part in _PARTS
    }
    architecture["clip"] = (
        clip.architecture.model_dump()
        if isinstance(clip.architecture, ClipArchitecture)
        else clip.architecture
    )
    if isinstance(clip.architecture, str) and clip.source.startswith("open_clip:"):
        tag = clip.source.removeprefix("open_clip:")
        architecture["clip_weights"] = wanted_by(clip.architecture, tag)
    return architecture


class _Undrawn(TorchFunctionMode):
    """Leaves new weights as the memory is: to draw those of ViT-L takes seconds."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        if func in (torch.Tensor.uniform_, torch.Tensor.normal_):
            return args[0]
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        return func(*args, **kwargs)


def build_network(architecture: Mapping[str, Any], drawn: bool = True) -> ScanNetwork:
    """A network with random weights.

    Args:
        architecture: from `architecture_of`, or from the header of a checkpoint.
        drawn: whether the weights are drawn at all; not where every one will be replaced.

    Returns:
        the network in evaluation mode, on the CPU, in float32.

    Raises:
        InputError: the parts do not fit together.
    """
    with nullcontext() if drawn else _Undrawn():
        return _build(architecture)


def _build(architecture: Mapping[str, Any]) -> ScanNetwork:
    if missing := [part for part in (*_PARTS, "clip") if part not in architecture]:
        raise InputError(f"architecture: the key '{missing[0]}' is missing")
    clip = build_clip(architecture["clip"], architecture.get("clip_weights"))
    original = copy.deepcopy(clip.visual)
    width = original.proj.shape[1]
    backbone, decoder = architecture["backbone"], architecture["mask_decoder"]
    pixel_decoder = architecture["pixel_decoder"]
    integration = architecture["semantic_integration"]
    if pixel_decoder["width"] != decoder["width"]:
        raise InputError(
            "segmenter: 'pixel_decoder.width' and 'mask_decoder.width' must be equal, they are "
            f"{pixel_decoder['width']} and {decoder['width']}"
        )
    if max(integration["clip_layers"]) > len(blocks(original)):
        raise InputError(
            f"segmenter.semantic_integration.clip_layers: {max(integration['clip_layers'])} is "
            f"more than the {len(blocks(original))} blocks of this CLIP"
        )
    network = ScanNetwork(
        ProposalNetwork(
            SwinBackbone(
                embed_dim=backbone["embed_dim"],
                depths=backbone["depths"],
                heads=backbone["heads"],
                window=backbone["window"],
                drop_path=backbone["drop_path"],
            ),
            PixelDecoder(
                channels=[backbone["embed_dim"] * 2**stage for stage in range(4)], **pixel_decoder
            ),
            MaskDecoder(
                levels=3, mask_width=pixel_decoder["mask_width"], embedding_width=width, **decoder
            ),
        ),
        SemanticIntegration(
            clip_width=original.class_embedding.shape[0],
            width=width,
            **{key: value for key, value in integration.items() if key != "enabled"},
        )
        if integration["enabled"]
        else None,
        clip,
        original,
    )
    return network.eval()


def tokenizer_for(architecture: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of the network's CLIP: CLIP's own, with the context of its text tower."""
    import open_clip  # slow to import, and not needed for names that are known

    clip = architecture["clip"]
    text = clip_dimensions(clip)["text_cfg"] if isinstance(clip, str) else clip
    return open_clip.SimpleTokenizer(context_length=text["context_length"])
