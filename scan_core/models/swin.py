"""Swin transformer with feature maps at strides 4, 8, 16 and 32, each with a norm.

It pads a map before it shifts it, as the released model's does. The parameters have the names of
transformers' `SwinBackbone`, which takes three times PyTorch's own time to import.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scan_core.models.attention import merge_heads, split_heads
from scan_core.models.backbone import Backbone
from scan_core.models.dropout import DropPath

_PATCH = 4
# Added to the attention between tokens that a shift has brought together from opposite sides.
_APART = -100.0


class SwinBackbone(Backbone):
    """The backbone.

    Args:
        embed_dim: channels of the first stage; each stage doubles them.
        depths: blocks of each stage.
        heads: attention heads of each stage.
        window: side of an attention window, tokens.
        drop_path: largest stochastic-depth rate, in training.
    """

    def __init__(
        self,
        embed_dim: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window: int,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.window = window
        self.channels = [embed_dim * 2**stage for stage in range(len(depths))]
        rates = [drop_path * block / max(sum(depths) - 1, 1) for block in range(sum(depths))]
        stages = nn.ModuleList()
        for number, depth in enumerate(depths):
            own_rates = rates[sum(depths[:number]) :][:depth]
            width, last = embed_dim * 2**number, number == len(depths) - 1
            stages.append(SwinStage(width, heads[number], window, own_rates, not last))
        embeddings, encoder = PatchEmbedding(embed_dim), nn.ModuleDict({"layers": stages})
        self.swin: Any = nn.ModuleDict({"embeddings": embeddings, "encoder": encoder})
        self.hidden_states_norms = nn.ModuleDict(
            {f"stage{n + 1}": nn.LayerNorm(embed_dim * 2**n) for n in range(len(depths))}
        )
        self.apply(_initialise)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps.

        Args:
            pixels: (B, 3, H, W), normalised; H and W are multiples of the coarsest stride.

        Returns:
            for each stage (B, C, H', W'), the finest first.
        """
        x = self.swin["embeddings"](pixels)
        maps = []
        norms = self.hidden_states_norms.values()
        for stage, norm in zip(self.swin["encoder"]["layers"], norms, strict=True):
            x = stage(x)
            maps.append(norm(x).permute(0, 3, 1, 2).contiguous())
            x = stage.downsample(x)
        return maps


class PatchEmbedding(nn.Module):
    """Pixels to the tokens of the first stage."""

    def __init__(self, width: int) -> None:
        super().__init__()
        projection = nn.Conv2d(3, width, _PATCH, stride=_PATCH)
        self.patch_embeddings = nn.ModuleDict({"projection": projection})
        self.norm = nn.LayerNorm(width)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, H / 4, W / 4, C)."""
        return self.norm(self.patch_embeddings["projection"](pixels).permute(0, 2, 3, 1))


class SwinStage(nn.Module):
    """The blocks of one stage, every second with shifted windows, and the way to the next."""

    def __init__(
        self, width: int, heads: int, window: int, rates: Sequence[float], downsample: bool
    ) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(
            SwinBlock(width, heads, window, shift=number % 2 * (window // 2), drop_path=rate)
            for number, rate in enumerate(rates)
        )
        self.downsample = PatchMerging(width) if downsample else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same."""
        apart = None
        if any(block.shift for block in self.blocks):
            apart = _tokens_apart(x, self.window, self.window // 2)
        for block in self.blocks:
            x = block(x, apart if block.shift else None)
        return x


class PatchMerging(nn.Module):
    """Two by two tokens become one of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H / 2, W / 2, 2 C)."""
        parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(parts, dim=-1)))


class SwinBlock(nn.Module):
    """Attention within windows, and a feed-forward network."""

    def __init__(self, width: int, heads: int, window: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.attention = WindowAttention(width, heads, window)
        self.layernorm_before = nn.LayerNorm(width)
        self.layernorm_after = nn.LayerNorm(width)
        first, second = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(OrderedDict(fc1=first, activation=nn.GELU(), fc2=second))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, apart: Tensor | None) -> Tensor:
        """One block.

        Args:
            x: (B, H, W, C).
            apart: for shifted windows see `_tokens_apart`.

        Returns:
            (B, H, W, C).
        """
        height, width = x.shape[1:3]
        rows, columns = (_windows_along(side, self.window) for side in (height, width))
        right, below = columns * self.window - width, rows * self.window - height
        padded = F.pad(self.layernorm_before(x), (0, 0, 0, right, 0, below))
        if self.shift:
            padded = padded.roll((-self.shift, -self.shift), dims=(1, 2))
        attended = self.attention(_to_windows(padded, self.window, rows, columns), apart)
        attended = _from_windows(attended, self.window, rows, columns)
        if self.shift:
            attended = attended.roll((self.shift, self.shift), dims=(1, 2))
        x = x + self.drop_path(attended[:, :height, :width])
        return x + self.drop_path(self.mlp(self.layernorm_after(x)))


class WindowAttention(nn.Module):
    """Self-attention with a learned bias: for each head and each difference of two places."""

    index: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width)
        table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.relative_position_bias = nn.ParameterDict({"relative_position_bias_table": table})
        # Kept in no file, so it is never on the device `meta`.
        places = torch.arange(window, device="cpu")
        rows, columns = torch.meshgrid(places, places, indexing="ij")
        rows, columns = rows.flatten(), columns.flatten()
        down = rows[:, None] - rows + window - 1
        right = columns[:, None] - columns + window - 1
        self.register_buffer("index", down * (2 * window - 1) + right, persistent=False)

    def forward(self, x: Tensor, apart: Tensor | None) -> Tensor:
        """Attend.

        Args:
            x: (B * windows, N, C), image by image.
            apart: (windows, N, N), added to the attention; None: nothing.

        Returns:
            (B * windows, N, C).
        """
        projections = (self.q_proj, self.k_proj, self.v_proj)
        table = self.relative_position_bias["relative_position_bias_table"]
        # (1, heads, N, N), in this order in memory: attention would rearrange it every time.
        bias = table[self.index].permute(2, 0, 1)[None].contiguous().to(x.dtype)
        if apart is not None:
            bias = bias + apart[:, None].to(x.dtype)
        if bias.requires_grad and x.device.type == "cpu":
            # Fewer operators; and PyTorch's own attention is slow for a bias that has a gradient.
            weight = torch.cat([project.weight for project in projections])
            offset = torch.cat([project.bias for project in projections])
            split = F.linear(x, weight, offset).unflatten(-1, (3, self.heads, -1))
            q, k, v = split.permute(2, 0, 3, 1, 4).unbind()
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
            weights = (scores.unflatten(0, (-1, len(bias))) + bias).softmax(-1).flatten(0, 1)
            attended = weights @ v
        else:
            q, k, v = (split_heads(project(x), self.heads) for project in projections)
            if len(bias) > 1:
                bias = bias.repeat(len(x) // len(bias), 1, 1, 1)
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.o_proj(merge_heads(attended))


def _windows_along(side: int, window: int) -> int:
    """Windows that cover so many tokens."""
    return (side + window - 1) // window


def _to_windows(x: Tensor, window: int, rows: int, columns: int) -> Tensor:
    """(B, H, W, C) to (B * rows * columns, N, C), row by row of windows."""
    parts = x.view(len(x), rows, window, columns, window, x.shape[-1])
    return parts.transpose(2, 3).reshape(len(x) * rows * columns, window * window, x.shape[-1])


def _from_windows(x: Tensor, window: int, rows: int, columns: int) -> Tensor:
    """The inverse of `_to_windows`."""
    parts = x.view(-1, rows, columns, window, window, x.shape[-1])
    return parts.transpose(2, 3).reshape(len(parts), rows * window, columns * window, x.shape[-1])


def _tokens_apart(x: Tensor, window: int, shift: int) -> Tensor:
    """(windows, N, N): where a shifted window holds tokens that are no neighbours.

    Args:
        x: (B, H, W, C), the map that is shifted.
        window: side of a window, tokens.
        shift: tokens.
    """
    regions = []
    rows, columns = (_windows_along(side, window) for side in x.shape[1:3])
    for padded in (rows * window, columns * window):
        place = torch.arange(padded, device=x.device)
        regions.append((place >= padded - window).int() + (place >= padded - shift).int())
    region = regions[0][:, None] * 3 + regions[1]
    tokens = _to_windows(region[None, :, :, None], window, rows, columns)[..., 0]
    differ = tokens[:, None] != tokens[:, :, None]
    return torch.where(differ, _APART, 0.0)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
