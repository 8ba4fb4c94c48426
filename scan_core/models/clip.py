"""CLIP: open_clip's towers, the image tower run block by block, the text tower cut short.

The modules are open_clip's own. The functions here compute what their `encode_image` and
`encode_text` do, but give access to the tokens between blocks and leave out what nobody reads: of
the last image block everything but the [CLS] token, of a text everything behind its end token.

What SCAN needs of an image tower is `embed_patches`, `blocks`, `run_block`, `project_cls` and
`token_shape`, beside its `image_size`, `patch_size` and `output_dim`: tokens of patches behind one
[CLS] token, which can be changed between blocks, and a feature made of [CLS].
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import open_clip
import torch
from open_clip import CLIP
from open_clip.timm_model import TimmModel
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from scan_core.errors import InputError
from scan_core.models import eva
from scan_core.models.attention import merge_heads, split_heads
from scan_core.models.conv_stem import ConvStem
from scan_core.models.preprocessing import ClipInput
from scan_core.params.clips import clip_config

Tokenizer = Callable[[list[str]], Tensor]
ImageTower: TypeAlias = VisionTransformer | TimmModel  # of timm EVA's


@dataclass(frozen=True)
class WholeImageTokens:
    """What the frozen CLIP sees in whole images.

    Attributes:
        cls: (blocks + 1, B, D): the [CLS] token before the first block and after each.
        patches: block (1-based) -> (B, T, D), the patch tokens after it, before any final norm.
        feature: (B, E), the projected [CLS] token, not normalised.
    """

    cls: Tensor
    patches: dict[int, Tensor]
    feature: Tensor


def build_clip(
    architecture: str | Mapping[str, Any], pretrained: Mapping[str, Any] | None = None
) -> CLIP:
    """A CLIP with random weights; `visual.input` says how its image tower takes images.

    Args:
        architecture: open_clip's model name, or the keys of `schema.clip.ClipArchitecture`.
        pretrained: what the weights that it is for want, from `pretrained_config`.

    Raises:
        InputError: unknown model name, or a model that SCAN cannot use.
    """
    pretrained = pretrained or {}
    if isinstance(architecture, str):
        config = {k: v for k, v in clip_config(architecture).items() if k != "custom_text"}
        config["quick_gelu"] = config.get("quick_gelu") or pretrained.get("quick_gelu", False)
        model = CLIP(**config)
        if isinstance(model.visual, TimmModel):
            eva.prepare_tower(model.visual, config["vision_cfg"]["patch_size"], config["embed_dim"])
    else:
        model = _small_clip(architecture)
    context = model.context_length  # kept in no file, so it is never on the device `meta`
    model.attn_mask = torch.full((context, context), -torch.inf, device="cpu").triu(1)
    scales = ("mean", "std") if pretrained else ()
    normalised = {key: tuple(255 * value for value in pretrained[key]) for key in scales}
    model.visual.input = ClipInput(model.visual.image_size[0], **normalised)
    return model.eval()


def _small_clip(dimensions: Mapping[str, Any]) -> CLIP:
    vision = {key: dimensions[key] for key in ("image_size", "patch_size", "head_width")}
    vision |= {"width": dimensions["vision_width"], "layers": dimensions["vision_layers"]}
    text = {"width": dimensions["text_width"], "layers": dimensions["text_layers"]}
    text["heads"] = text["width"] // vision["head_width"]
    text["context_length"] = dimensions["context_length"]
    model = CLIP(dimensions["embed_dim"], vision_cfg=vision, text_cfg=text)
    if dimensions["stem"] == "convolutional":
        model.visual.conv1 = ConvStem(vision["width"], vision["patch_size"])
    # With a tenth of this spread, open_clip's, places are seen only after many steps.
    nn.init.normal_(model.visual.positional_embedding)
    return model


def pretrained_config(name: str, tag: str) -> dict[str, Any]:
    """What pretrained weights want of the network and of its images, by open_clip's own table.

    Args:
        name: of the model, such as `ViT-L-14`.
        tag: of the weights, such as `openai`.

    Returns:
        `quick_gelu`, whether they were trained with that activation; `mean` and `std` of the
        pixels, RGB, on the 0..1 scale.

    Raises:
        InputError: open_clip has no such weights.
    """
    known = open_clip.list_pretrained_tags_by_model(name)
    if tag not in known:
        raise InputError(
            f"clip: open_clip has no weights '{tag}' for {name}; there are {', '.join(known)}"
        )
    found = open_clip.get_pretrained_cfg(name, tag)
    return {
        "quick_gelu": bool(found.get("quick_gelu", False)),
        "mean": list(found.get("mean") or open_clip.OPENAI_DATASET_MEAN),
        "std": list(found.get("std") or open_clip.OPENAI_DATASET_STD),
    }


def tokenizer_for(architecture: str | Mapping[str, Any]) -> Tokenizer:
    """CLIP's own tokenizer, with the context of a CLIP's text tower; see `build_clip`."""
    text = clip_config(architecture)["text_cfg"] if isinstance(architecture, str) else architecture
    return open_clip.SimpleTokenizer(context_length=text["context_length"])


def blocks(visual: ImageTower) -> list[nn.Module]:
    """The blocks of an image tower."""
    if isinstance(visual, TimmModel):
        return list(visual.trunk.blocks)
    return list(visual.transformer.resblocks)


def token_shape(visual: ImageTower) -> tuple[int, int]:
    """How many tokens an image has, [CLS] among them, and their channels."""
    timm = isinstance(visual, TimmModel)
    tokens, width = (visual.trunk.pos_embed[0] if timm else visual.positional_embedding).shape
    return tokens, width


def embed_patches(visual: ImageTower, images: Tensor) -> Tensor:
    """Tokens before the first block.

    Args:
        visual: image tower.
        images: (B, 3, S, S), normalised.

    Returns:
        (B, 1 + T, D) float32, the [CLS] token first.
    """
    if isinstance(visual, TimmModel):
        return eva.embed(visual, images)
    if isinstance(visual.conv1, nn.Conv2d):
        patches = F.unfold(images, visual.patch_size, stride=visual.patch_size).transpose(1, 2)
        tokens = F.linear(patches, visual.conv1.weight.flatten(1))
    else:
        tokens = visual.conv1(images).flatten(2).transpose(1, 2)
    cls = visual.class_embedding.expand(tokens.shape[0], 1, -1)
    return visual.ln_pre(torch.cat((cls, tokens), 1) + visual.positional_embedding)


def run_block(block: nn.Module, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """One residual attention block.

    The residual stream keeps its precision; products run in the precision of the weights.

    Args:
        block: of an image or a text tower.
        x: (B, T, D).
        mask: (T, T) float, added to the attention logits.

    Returns:
        (B, T, D).
    """
    if not isinstance(block, ResidualAttentionBlock):
        return eva.run_block(block, x)
    attention = block.attn
    normed = block.ln_1(x).to(attention.in_proj_weight.dtype)
    projected = F.linear(normed, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = (split_heads(p, attention.num_heads) for p in projected.chunk(3, -1))
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    x = x + attention.out_proj(merge_heads(attended))
    return x + _feed_forward(block, x)


def run_last_block(block: nn.Module, x: Tensor) -> Tensor:
    """The last block, of which only the [CLS] token is computed.

    Args:
        block: of an image tower.
        x: (B, 1 + T, D).

    Returns:
        (B, D), the [CLS] token after the block.
    """
    if not isinstance(block, ResidualAttentionBlock):
        return eva.run_block(block, x)[:, 0]
    attention = block.attn
    width = x.shape[-1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    normed = block.ln_1(x).to(weight.dtype)
    query = F.linear(normed[:, :1], weight[:width], bias[:width])
    key, value = F.linear(normed, weight[width:], bias[width:]).chunk(2, -1)
    query, key, value = (split_heads(p, attention.num_heads) for p in (query, key, value))
    attended = F.scaled_dot_product_attention(query, key, value)
    cls = x[:, :1] + attention.out_proj(merge_heads(attended))
    return (cls + _feed_forward(block, cls))[:, 0]


def _feed_forward(block: ResidualAttentionBlock, x: Tensor) -> Tensor:
    return block.mlp(block.ln_2(x).to(block.mlp[0].weight.dtype))


def project_cls(visual: ImageTower, cls: Tensor) -> Tensor:
    """(B, D), the last block's [CLS] token, to (B, E), the image feature, not normalised."""
    if isinstance(visual, TimmModel):
        return eva.project_cls(visual, cls)
    return visual.ln_post(cls) @ visual.proj


def encode_images(
    visual: ImageTower,
    images: Tensor,
    between_blocks: Callable[[int, Tensor], Tensor] = lambda number, tokens: tokens,
) -> Tensor:
    """Image features.

    Args:
        visual: image tower.
        images: (B, 3, S, S), normalised.
        between_blocks: called after every block but the last with its number (1-based) and its
            tokens, (B, 1 + T, D); what it returns goes into the next block.

    Returns:
        (B, E) float32, not normalised.
    """
    return encode_images_each_way(visual, images, [between_blocks], 1)[0]


def encode_images_each_way(
    visual: ImageTower,
    images: Tensor,
    ways: Sequence[Callable[[int, Tensor], Tensor]],
    first: int,
) -> list[Tensor]:
    """Image features of the same images, their tokens changed in several ways.

    The blocks before the first change, and the patch embedding, are run once for all.

    Args:
        visual: image tower.
        images: (B, 3, S, S), normalised.
        ways: each called as `between_blocks` of `encode_images`, from block `first` on.
        first: no way changes the tokens of an earlier block (1-based).

    Returns:
        for each way (B, E) float32, not normalised.
    """
    *others, last = blocks(visual)
    tokens = embed_patches(visual, images)
    for block in others[:first]:
        tokens = run_block(block, tokens)
    features = []
    for change in ways:
        x = tokens
        for number, block in enumerate(others[first - 1 :], start=first):
            x = change(number, x if number == first else run_block(block, x))
        features.append(project_cls(visual, run_last_block(last, x)))
    return features


def encode_whole_images(
    visual: ImageTower, images: Tensor, patch_layers: Iterable[int] = ()
) -> WholeImageTokens:
    """All [CLS] tokens of whole images, and the patch tokens of some blocks.

    Args:
        visual: image tower.
        images: (B, 3, S, S), normalised.
        patch_layers: blocks (1-based) whose patch tokens are wanted.
    """
    wanted = set(patch_layers)
    x = embed_patches(visual, images)
    cls, patches = [x[:, 0]], {}
    for number, block in enumerate(blocks(visual), start=1):
        x = run_block(block, x)
        cls.append(x[:, 0])
        if number in wanted:
            patches[number] = x[:, 1:]
    return WholeImageTokens(torch.stack(cls), patches, project_cls(visual, x[:, 0]))


def encode_texts(clip: CLIP, tokens: Tensor) -> Tensor:
    """Text features.

    The text tower is causal and reads its result at the end token, so the sequence is cut
    behind the last one: a seventh of the work for class names in templates.

    Args:
        clip: the model.
        tokens: (N, context) int64, as its tokenizer gives them: the end token has the largest id.

    Returns:
        (N, E) float32, not normalised.
    """
    end = tokens.argmax(dim=1)
    length = int(end.max()) + 1
    x = clip.token_embedding(tokens[:, :length]) + clip.positional_embedding[:length]
    mask = clip.attn_mask[:length, :length]
    for block in clip.transformer.resblocks:
        x = run_block(block, x, mask)
    pooled = clip.ln_final(x[torch.arange(len(x), device=x.device), end])
    return pooled @ clip.text_projection


def text_weights(clip: CLIP) -> Iterator[nn.Parameter]:
    """The parameters on which text features depend."""
    for name, parameter in clip.named_parameters():
        if not name.startswith("visual.") and name not in ("logit_scale", "logit_bias"):
            yield parameter


def lower_precision(visual: ImageTower, dtype: torch.dtype) -> None:
    """Keep the weights of the blocks' matrix products in `dtype`, in place.

    Norms, embeddings, the projection and the residual stream stay in float32: that is where
    rounding would add up.
    """
    for block in blocks(visual):
        block.attn.to(dtype)
        block.mlp.to(dtype)


def chunk_size(visual: ImageTower, device: torch.device) -> int:
    """How many images at once keep an image tower's activations in fast memory.

    On a CPU the hidden layer of one chunk should stay within the processor's cache (about
    10 MB); on a GPU some gigabytes are free and large batches are faster.
    """
    tokens, width = token_shape(visual)
    hidden_bytes = 4 * 4 * tokens * width
    budget = 10 * 2**20 if device.type == "cpu" else 2**30
    return max(1, round(budget / hidden_bytes))
