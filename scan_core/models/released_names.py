"""Names of the weights in foreign checkpoints, and ours for them.

A rule is a pair of name beginnings, ours and theirs; `#` stands for a number that both share.
Swin's query, key and value are one tensor in all released checkpoints and three in
transformers' module. Constants that a foreign module stores beside its weights are left out.
"""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

Rules = Sequence[tuple[str, str]]

_BLOCK = "swin.encoder.layers.#.blocks.#."
_SWIN: Rules = [
    ("swin.embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("swin.embeddings.norm.", "patch_embed.norm."),
    (_BLOCK + "layernorm_before.", "layers.#.blocks.#.norm1."),
    (_BLOCK + "layernorm_after.", "layers.#.blocks.#.norm2."),
    (
        _BLOCK + "attention.relative_position_bias.relative_position_bias_table",
        "layers.#.blocks.#.attn.relative_position_bias_table",
    ),
    (_BLOCK + "attention.qkv.", "layers.#.blocks.#.attn.qkv."),
    (_BLOCK + "attention.o_proj.", "layers.#.blocks.#.attn.proj."),
    (_BLOCK + "mlp.", "layers.#.blocks.#.mlp."),
    ("swin.encoder.layers.#.downsample.", "layers.#.downsample."),
    *((f"hidden_states_norms.stage{i + 1}.", f"norm{i}.") for i in range(4)),
]
_PIXEL_DECODER: Rules = [
    ("input_proj.", "input_proj."),
    ("level_embed", "transformer.level_embed"),
    ("layers.", "transformer.encoder.layers."),
    ("lateral.0.", "adapter_1."),
    ("lateral.1.", "adapter_1.norm."),
    ("output.0.", "layer_1."),
    ("output.1.", "layer_1.norm."),
    ("mask_features.", "mask_features."),
]
_MASK_DECODER: Rules = [
    ("layers.#.cross_attn.", "transformer_cross_attention_layers.#.multihead_attn."),
    ("layers.#.cross_norm.", "transformer_cross_attention_layers.#.norm."),
    ("layers.#.self_attn.", "transformer_self_attention_layers.#.self_attn."),
    ("layers.#.self_norm.", "transformer_self_attention_layers.#.norm."),
    ("layers.#.ffn_norm.", "transformer_ffn_layers.#.norm."),
    ("layers.#.linear", "transformer_ffn_layers.#.linear"),
    *((name, name) for name in ("decoder_norm.", "query_feat.", "query_embed.", "level_embed.")),
    *((name, name) for name in ("class_embed.layers.", "mask_embed.")),
]


def _under(ours: str, theirs: str, rules: Rules) -> Rules:
    return [(ours + a, theirs + b) for a, b in rules]


# Mask2Former's names, and SCAN's for the parts that it took over. (An embedding head in place
# of a classifier has no counterpart in Mask2Former.)
PROPOSAL_NETWORK: Rules = [
    *_under("proposal_network.backbone.", "backbone.", _SWIN),
    *_under("proposal_network.pixel_decoder.", "sem_seg_head.pixel_decoder.", _PIXEL_DECODER),
    *_under("proposal_network.mask_decoder.", "sem_seg_head.predictor.", _MASK_DECODER),
]
SCAN: Rules = [
    *PROPOSAL_NETWORK,
    ("semantic_integration.low_frequency.", "LFM."),
    ("semantic_integration.projection.0.", "oriclip_mlp.fc1."),
    ("semantic_integration.projection.1.", "oriclip_mlp.fc2."),
    ("semantic_integration.fusion.attention.", "fusion_decoder.multiattn."),
    ("semantic_integration.fusion.norms.", "fusion_decoder.ln."),
    ("semantic_integration.prior_scale", "learnable_weight"),
    ("semantic_integration.encoder.", "lightweight_transformer.layers."),
    ("no_object_embedding", "clip_adapter.non_object_embedding"),
    ("clip.", "clip_adapter.clip_model."),
    ("original_clip.", "clip_adapter.original_clip."),
]
FINETUNED_CLIP: Rules = [("clip.", "clip_model."), ("original_clip.", "original_clip_visual.")]
# A CLIP by itself, by open_clip's names, which are ours; some have the text tower in a module.
CLIP: Rules = [("clip.", ""), ("clip.", "text.")]
# ImageNet checkpoints of Swin: with or without `backbone.` in front.
BACKBONE: Rules = [
    *_under("proposal_network.backbone.", "backbone.", _SWIN),
    *_under("proposal_network.backbone.", "", _SWIN),
]

_CONSTANTS = re.compile(
    r"(.*\.)?(relative_position_index|attn_mask|empty_weight|pixel_mean|pixel_std"
    r"|text_feature_buffer(\..*)?)"
)
# Mask2Former's first checkpoints have the pixel decoder directly below the head.
_OLDEST = re.compile(r"^(sem_seg_head\.)(?!pixel_decoder\.|predictor\.)")
_QKV = ("q_proj", "k_proj", "v_proj")


def to_ours(theirs: Mapping[str, Tensor], rules: Rules) -> tuple[dict[str, Tensor], list[str]]:
    """Rename a foreign state dict.

    Args:
        theirs: its tensors, without a `module.` in front.
        rules: the kind of checkpoint: `SCAN`, `PROPOSAL_NETWORK`, `FINETUNED_CLIP`, `BACKBONE`.

    Returns:
        tensors by our names, and the names that no rule knows.
    """
    renamed: dict[str, Tensor] = {}
    unknown = []
    # The longest beginning that fits is meant: `adapter_1.norm.` before `adapter_1.`.
    patterns = [
        (
            re.compile(re.escape(start).replace(r"\#", r"(\d+)")),
            ours.replace("#", r"\1", 1).replace("#", r"\2", 1),
        )
        for ours, start in sorted(rules, key=lambda rule: -len(rule[1]))
    ]
    for name, tensor in theirs.items():
        if _CONSTANTS.fullmatch(name):
            continue
        ours = _renamed(_OLDEST.sub(r"\1pixel_decoder.", name), patterns)
        if ours is None:
            unknown.append(name)
        elif ".attention.qkv." in ours:
            for part, values in zip(_QKV, tensor.chunk(3), strict=True):
                renamed[ours.replace("qkv", part)] = values
        else:
            renamed[ours] = tensor
    return renamed, unknown


def _renamed(name: str, patterns: list[tuple[re.Pattern[str], str]]) -> str | None:
    for pattern, ours in patterns:
        if match := pattern.match(name):
            return match.expand(ours) + name[match.end() :]
    return None
