"""CLIP's two towers as modules: a plain vision transformer and a causal text transformer.

The parameters have open_clip's names and, for one seed, its initial values, so that its weights fit
as they are; the arithmetic is in `scan_core.models.clip`. open_clip itself is imported only where
its collection of weights or its tokenizer is wanted: it brings three times PyTorch's own time to
start, whichever of its modules is asked for.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

VOCABULARY = 49_408


class QuickGELU(nn.Module):
    """The approximation of GELU that OpenAI's weights were trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return x * torch.sigmoid(1.702 * x)


class ResidualAttentionBlock(nn.Module):
    """Weights of one block; `clip.run_block` runs it.

    Args:
        width: channels.
        heads: attention heads.
        mlp_ratio: hidden width of the feed-forward network, as a multiple of `width`.
        activation: of the feed-forward network.
    """

    def __init__(
        self, width: int, heads: int, mlp_ratio: float, activation: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        expand, contract = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.mlp = nn.Sequential(
            OrderedDict([("c_fc", expand), ("gelu", activation()), ("c_proj", contract)])
        )


class Transformer(nn.Module):
    """The blocks of a tower.

    Args:
        width: channels.
        layers: number of blocks.
        heads: attention heads.
        mlp_ratio: see `ResidualAttentionBlock`.
        activation: see `ResidualAttentionBlock`.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        mlp_ratio: float,
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(
            ResidualAttentionBlock(width, heads, mlp_ratio, activation) for _ in range(layers)
        )

    @property
    def blocks(self) -> list[ResidualAttentionBlock]:
        """The blocks in order."""
        return cast(list[ResidualAttentionBlock], list(self.resblocks))


@dataclass(frozen=True)
class ClipInput:
    """How an image tower takes its images.

    Attributes:
        size: height and width, pixels.
        mean: of each channel, RGB, on the 0..255 scale.
        std: standard deviation, likewise. The defaults are those of CLIP's first weights.
    """

    size: int
    mean: tuple[float, ...] = tuple(255 * value for value in (0.48145466, 0.4578275, 0.40821073))
    std: tuple[float, ...] = tuple(255 * value for value in (0.26862954, 0.26130258, 0.27577711))


class VisionTransformer(nn.Module):
    """CLIP's image tower.

    Args:
        embed_dim: width of the image feature.
        image_size: side of the input, pixels.
        patch_size: side of a patch, pixels.
        width: channels of the tokens.
        layers: number of blocks.
        head_width: channels of an attention head.
        mlp_ratio: see `ResidualAttentionBlock`.
        activation: see `ResidualAttentionBlock`.

    Attributes:
        input: how it takes its images; other weights may want another mean and deviation.
        image_size: height and width of the input, pixels.
        patch_size: height and width of a patch, pixels.
    """

    def __init__(
        self,
        embed_dim: int,
        image_size: int,
        patch_size: int,
        width: int,
        layers: int,
        head_width: int = 64,
        mlp_ratio: float = 4.0,
        activation: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        self.input = ClipInput(image_size)
        self.image_size, self.patch_size = (image_size, image_size), (patch_size, patch_size)
        tokens, scale = (image_size // patch_size) ** 2 + 1, width**-0.5
        self.conv1: nn.Module = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(tokens, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, width // head_width, mlp_ratio, activation)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, embed_dim))


class CLIP(nn.Module):
    """An image tower and a text tower with a common embedding.

    Args:
        visual: the image tower.
        context_length: tokens that the text tower reads.
        width: channels of its tokens.
        heads: its attention heads.
        layers: its blocks.
        vocab_size: number of different tokens.
        mlp_ratio: see `ResidualAttentionBlock`.
        activation: see `ResidualAttentionBlock`.
    """

    attn_mask: Tensor

    def __init__(
        self,
        visual: VisionTransformer,
        context_length: int,
        width: int,
        heads: int,
        layers: int,
        vocab_size: int = VOCABULARY,
        mlp_ratio: float = 4.0,
        activation: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        self.visual = visual
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.transformer = Transformer(width, layers, heads, mlp_ratio, activation)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, visual.proj.shape[1]))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        later = torch.full((context_length, context_length), -torch.inf).triu(1)
        self.register_buffer("attn_mask", later, persistent=False)
        self._initialise_text(width, layers)

    def _initialise_text(self, width: int, layers: int) -> None:
        residual = width**-0.5 * (2 * layers) ** -0.5
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        for block in self.transformer.blocks:
            expand, _, contract = cast(Iterable[nn.Linear], block.mlp)
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=residual)
            nn.init.normal_(expand.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(contract.weight, std=residual)
        nn.init.normal_(self.text_projection, std=width**-0.5)
