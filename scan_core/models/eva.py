"""EVA's image towers, which open_clip takes from timm, block by block.

They have a [CLS] token, as CLIP's have, and see places by rotary embeddings in every block.
"""

from contextlib import nullcontext
from typing import Any

import torch
from open_clip.timm_model import TimmModel
from timm.models._manipulate import reinit_non_persistent_buffers
from torch import Tensor


def prepare_tower(visual: TimmModel, patch_size: int, output_dim: int) -> None:
    """Give a tower the attributes of open_clip's own, and its blocks what they share, in place."""
    visual.patch_size, visual.output_dim = (patch_size, patch_size), output_dim
    for block in visual.trunk.blocks:
        block.rope = visual.trunk.rope  # without weights
    with torch.device("cpu"):  # what is kept in no file is never on the device `meta`
        for module in visual.trunk.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, torch.empty_like(buffer, device="cpu"))
        reinit_non_persistent_buffers(visual.trunk)


def embed(visual: TimmModel, images: Tensor) -> Tensor:
    """(B, 3, S, S) to (B, 1 + T, D), the tokens before the first block."""
    trunk = visual.trunk
    tokens, _ = trunk._pos_embed(trunk.patch_embed(images))
    embedded: Tensor = trunk.norm_pre(tokens)
    return embedded


def run_block(block: Any, x: Tensor) -> Tensor:
    """One block; products run in the precision of its weights."""
    rope = None if block.rope is None else block.rope.get_embed()
    dtype = block.mlp.fc2.weight.dtype
    # Even a disabled autocast cannot be exported.
    lower = nullcontext() if dtype == torch.float32 else torch.autocast(x.device.type, dtype)
    with lower:
        x = block(x, rope=rope)
    return x


def project_cls(visual: TimmModel, cls: Tensor) -> Tensor:
    """(B, D), the last block's [CLS] token, to (B, E), not normalised."""
    feature: Tensor = visual.head(visual.trunk.forward_head(visual.trunk.norm(cls[:, None])))
    return feature
