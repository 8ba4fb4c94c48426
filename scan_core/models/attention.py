"""Multi-head attention and the small layers that several parts of the network share."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention with the parameters of `torch.nn.MultiheadAttention`.

    Args:
        width: channels of queries, keys and values.
        heads: attention heads; `width` is a multiple of it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None
    ) -> Tensor:
        """Attend.

        Args:
            query: (B, Q, C).
            key: (B, S, C).
            value: (B, S, C).
            allowed: (B, Q, S) bool, where a query may look; every query must see something.

        Returns:
            (B, Q, C).
        """
        weights = self.in_proj_weight.chunk(3)
        biases = self.in_proj_bias.chunk(3)
        q, k, v = (
            split_heads(F.linear(x, weight, bias), self.heads)
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        mask = None if allowed is None else allowed[:, None]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(merge_heads(attended))


class Mlp(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        widths: channels of the input, of every hidden layer, and of the output.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., first width) to (..., last width)."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) to (B, heads, N, C / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, N, D) to (B, N, heads * D)."""
    return x.transpose(1, 2).flatten(2)


def sine_positions(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Sine position embedding of a map, normalised to its size (DETR).

    Args:
        height: rows.
        width: columns.
        channels: of the embedding, a multiple of 4: the first half encodes y, the second x.
        device: of the result.

    Returns:
        (height * width, channels) float32.
    """
    per_axis = channels // 2
    exponent = torch.arange(per_axis, device=device) // 2 * 2 / per_axis
    wavelength = 10000.0**exponent

    def encode(length: int) -> Tensor:
        position = torch.arange(1, length + 1, device=device, dtype=torch.float32)
        angle = position / (length + 1e-6) * (2 * torch.pi)
        angles = angle[:, None] / wavelength
        return torch.stack((angles[:, 0::2].sin(), angles[:, 1::2].cos()), dim=2).flatten(1)

    y = encode(height)[:, None].expand(height, width, per_axis)
    x = encode(width)[None].expand(height, width, per_axis)
    return torch.cat((y, x), dim=2).flatten(0, 1)
