"""Pixel decoder of Mask2Former: deformable attention over strides 8 to 32, then stride 4."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scan_core.models.attention import sine_positions
from scan_core.models.deformable_attention import DeformableAttention

GROUPS = 32


@dataclass(frozen=True)
class PixelFeatures:
    """What the pixel decoder makes of an image.

    Attributes:
        levels: (B, C, h, w) at strides 32, 16 and 8.
        mask_features: (B, M, H, W) at stride 4; a mask's logits are its embedding times these.
    """

    levels: tuple[Tensor, ...]
    mask_features: Tensor


class DeformableEncoderLayer(nn.Module):
    """Deformable self-attention and a feed-forward network, each with a norm after it."""

    def __init__(self, width: int, heads: int, levels: int, points: int, feedforward: int) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(width, heads, levels, points)
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm2 = nn.LayerNorm(width)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(
        self, x: Tensor, positions: Tensor, sizes: Sequence[tuple[int, int]], places: Tensor
    ) -> Tensor:
        """Update the tokens of all levels.

        Args:
            x: (B, S, C).
            positions: (S, C), added to the queries.
            sizes: height and width of each level.
            places: (S, 2), x and y of every token, 0..1.

        Returns:
            (B, S, C).
        """
        x = self.norm1(x + self.self_attn(x + positions, x, sizes, places))
        return self.norm2(x + self.linear2(F.relu(self.linear1(x))))


class PixelDecoder(nn.Module):
    """From the backbone's feature maps to mask features.

    Args:
        channels: of the backbone's maps at strides 4, 8, 16 and 32.
        width: channels of the decoder's own maps; a multiple of 32 for its group norms.
        mask_width: channels of the mask features.
        layers: deformable encoder layers.
        heads: attention heads.
        points: sampling points for each head and level.
        feedforward: width of the feed-forward networks.
    """

    def __init__(
        self,
        channels: Sequence[int],
        width: int,
        mask_width: int,
        layers: int,
        heads: int,
        points: int,
        feedforward: int,
    ) -> None:
        super().__init__()
        finest, *coarser = channels
        inputs = [nn.Conv2d(depth, width, 1) for depth in reversed(coarser)]
        self.input_proj = nn.ModuleList(
            nn.Sequential(project, nn.GroupNorm(GROUPS, width)) for project in inputs
        )
        self.level_embed = nn.Parameter(torch.randn(len(coarser), width))
        self.layers = nn.ModuleList(
            DeformableEncoderLayer(width, heads, len(coarser), points, feedforward)
            for _ in range(layers)
        )
        lateral = nn.Conv2d(finest, width, 1, bias=False)
        output = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.lateral = nn.Sequential(lateral, nn.GroupNorm(GROUPS, width))
        self.output = nn.Sequential(output, nn.GroupNorm(GROUPS, width))
        self.mask_features = nn.Conv2d(width, mask_width, 1)
        for project in inputs:
            nn.init.xavier_uniform_(project.weight)
            _zero_bias(project)
        for convolution in (lateral, output, self.mask_features):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        _zero_bias(self.mask_features)

    def forward(self, maps: Sequence[Tensor]) -> PixelFeatures:
        """Decode.

        Args:
            maps: the backbone's (B, C_i, H_i, W_i) at strides 4, 8, 16 and 32.

        Returns:
            feature maps at strides 32, 16 and 8 and the mask features.
        """
        finest, *coarser = maps
        projected = [
            project(level) for project, level in zip(self.input_proj, coarser[::-1], strict=True)
        ]
        sizes = [(level.shape[2], level.shape[3]) for level in projected]
        x = torch.cat([level.flatten(2).transpose(1, 2) for level in projected], dim=1)
        positions = torch.cat(
            [
                sine_positions(h, w, x.shape[2], x.device) + embedding
                for (h, w), embedding in zip(sizes, self.level_embed, strict=True)
            ]
        )
        places = torch.cat([_centres(h, w, x.device) for h, w in sizes])
        for layer in self.layers:
            x = layer(x, positions, sizes, places)
        levels = tuple(
            tokens.transpose(1, 2).unflatten(2, size)
            for tokens, size in zip(x.split([h * w for h, w in sizes], dim=1), sizes, strict=True)
        )
        lateral = self.lateral(finest)
        merged = lateral + F.interpolate(levels[-1], lateral.shape[2:], mode="bilinear")
        return PixelFeatures(levels, self.mask_features(F.relu(self.output(merged))))


def _zero_bias(convolution: nn.Conv2d) -> None:
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)


def _centres(height: int, width: int, device: torch.device) -> Tensor:
    """(height * width, 2) float32: x and y of the pixels' centres, 0..1."""
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)
