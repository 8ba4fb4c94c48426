"""The network that a recipe describes."""

import copy
from collections.abc import Mapping
from typing import Any

import torch

from scan_core.errors import InputError
from scan_core.models.backbone import Backbone, TimmBackbone
from scan_core.models.clip import blocks, build_clip, pretrained_config, token_shape
from scan_core.models.mask_decoder import MaskDecoder
from scan_core.models.pixel_decoder import PixelDecoder
from scan_core.models.scan import ProposalNetwork, ScanNetwork
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
    return architecture | clip_architecture(clip)


def clip_architecture(clip: Clip) -> dict[str, Any]:
    """The part of it that is CLIP's."""
    if isinstance(clip.architecture, ClipArchitecture):
        return {"clip": clip.architecture.model_dump()}
    weights = {"clip_weights": pretrained_config(clip.architecture, clip.tag)} if clip.tag else {}
    return {"clip": clip.architecture, **weights}


def build_backbone(name: str = "swin", **dimensions: Any) -> Backbone:
    """A backbone with random weights; see `schema.segmenter.Backbone`."""
    if name == "swin":
        return SwinBackbone(**dimensions)
    return TimmBackbone(name.removeprefix("timm:"))


def build_network(architecture: Mapping[str, Any], device: str = "cpu") -> ScanNetwork:
    """A network with random weights.

    Args:
        architecture: from `architecture_of`, or from the header of a checkpoint.
        device: `meta`: without weights, where `load_strict` will give it every one.

    Returns:
        the network in evaluation mode, in float32.

    Raises:
        InputError: the parts do not fit together.
    """
    with torch.device(device):
        return _build(architecture)


def _build(architecture: Mapping[str, Any]) -> ScanNetwork:
    clip = build_clip(architecture["clip"], architecture.get("clip_weights"))
    original = copy.deepcopy(clip.visual)
    width = original.output_dim
    backbone = build_backbone(**architecture["backbone"])
    pixel_decoder, decoder = architecture["pixel_decoder"], architecture["mask_decoder"]
    integration = dict(architecture["semantic_integration"])
    enabled = integration.pop("enabled")
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
    maps = PixelDecoder(backbone.channels, **pixel_decoder)
    shared = {"mask_width": pixel_decoder["mask_width"], "embedding_width": width}
    proposals = ProposalNetwork(backbone, maps, MaskDecoder(levels=3, **shared, **decoder))
    clip_width = token_shape(original)[1]
    enrich = SemanticIntegration(clip_width, width, **integration) if enabled else None
    return ScanNetwork(proposals, enrich, clip, original).eval()
