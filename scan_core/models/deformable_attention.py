"""Multi-scale deformable attention (Deformable DETR), in pure PyTorch on any device."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scan_core.models.preprocessing import constant


class DeformableAttention(nn.Module):
    """Every query reads a few points of every level, at learned offsets from its own place.

    Args:
        width: channels.
        heads: attention heads; `width` is a multiple of it.
        levels: feature maps.
        points: points for each head and level.
    """

    def __init__(self, width: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)
        # Heads look in different directions, points at growing distances.
        angle = torch.arange(heads) * (2 * math.pi / heads)
        direction = torch.stack((angle.cos(), angle.sin()), dim=-1)
        direction = direction / direction.abs().amax(dim=-1, keepdim=True)
        distance = torch.arange(1, points + 1).view(1, 1, -1, 1)
        offsets = direction.view(heads, 1, 1, 2) * distance
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, levels, -1, -1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(
        self, query: Tensor, value: Tensor, sizes: Sequence[tuple[int, int]], places: Tensor
    ) -> Tensor:
        """Attend.

        Args:
            query: (B, Q, C).
            value: (B, S, C), all levels one after the other.
            sizes: height and width of each level; their areas sum to S.
            places: (Q, 2) float32, x and y of every query within the image, 0..1.

        Returns:
            (B, Q, C).
        """
        shape = (*query.shape[:2], self.heads, self.levels, self.points)
        # Places need float32 whatever the products run in: bfloat16 cannot tell pixels apart.
        values = self.value_proj(value).float().unflatten(-1, (self.heads, -1))
        offsets = self.sampling_offsets(query).float().view(*shape, 2)
        logits = self.attention_weights(query).float()
        weights = logits.view(*shape[:3], -1).softmax(-1).view(shape)
        # In pixels of each level, 0 at the centre of the first pixel.
        extent = constant([(w, h) for h, w in sizes], query.device, torch.float32)
        pixels = places[:, None, None, None] * extent[:, None] + offsets - 0.5
        sampled = values.shape[-1] < _WIDE or torch.compiler.is_exporting()
        read = sample_and_sum if sampled else gather_and_sum
        return self.output_proj(read(values, sizes, pixels, weights))


# Channels of a head from which on gathering rows beats sampling maps, forwards and backwards.
_WIDE = 32


def sample_and_sum(
    values: Tensor, sizes: Sequence[tuple[int, int]], pixels: Tensor, weights: Tensor
) -> Tensor:
    """Weighted sum of bilinear samples, level by level.

    The equal of `gather_and_sum`. With the 16 channels of the small network it takes less than
    half the time of that, whose backward pass has to sort all the rows that were read.

    Args:
        values: see `gather_and_sum`.
        sizes: see `gather_and_sum`.
        pixels: see `gather_and_sum`.
        weights: see `gather_and_sum`.
    """
    batch, _, heads, depth = values.shape
    queries = pixels.shape[1]
    summed = values.new_zeros(batch * heads, depth, queries)
    maps = values.permute(0, 2, 3, 1).flatten(0, 1).split([h * w for h, w in sizes], dim=2)
    by_level = zip(sizes, maps, pixels.unbind(3), weights.unbind(3), strict=True)
    for (height, width), flat, places, shares in by_level:
        # To grid_sample the borders of the map are -1 and 1. Points before queries: a sum over
        # points is then a sum of long rows.
        extent = constant((width, height), values.device)
        grid = (places.permute(0, 2, 3, 1, 4) + 0.5) * (2 / extent) - 1
        samples = F.grid_sample(
            flat.unflatten(2, (height, width)), grid.flatten(0, 1), align_corners=False
        )
        factors = shares.permute(0, 2, 3, 1).flatten(0, 1)
        summed = summed + (samples * factors[:, None]).sum(2)
    return summed.view(batch, heads * depth, queries).transpose(1, 2)


def gather_and_sum(
    values: Tensor, sizes: Sequence[tuple[int, int]], pixels: Tensor, weights: Tensor
) -> Tensor:
    """Weighted sum of bilinear samples; zero outside of a level.

    One gather does it all: for every query and head it sums rows of `values` (the four
    neighbours of each point) with the product of bilinear and attention weights. Nothing of the
    size queries × points × channels is ever made: four times faster than sampling each level
    by `grid_sample` on a CPU, with the full-size network.

    Args:
        values: (B, S, heads, D).
        sizes: height and width of each level.
        pixels: (B, Q, heads, levels, points, 2), x and y in pixels of the level.
        weights: (B, Q, heads, levels, points).

    Returns:
        (B, Q, heads * D); NaN where a place is NaN.
    """
    batch, _, heads, depth = values.shape
    queries, points, device = pixels.shape[1], pixels.shape[4], values.device
    # Within borders of zeros, what lies outside is read like everything else: one before the
    # first row and column, two behind the last.
    maps = values.split([h * w for h, w in sizes], dim=1)
    table = torch.cat(
        [
            F.pad(level.unflatten(1, size), (0, 0, 0, 0, 1, 2, 1, 2)).flatten(1, 2)
            for level, size in zip(maps, sizes, strict=True)
        ],
        dim=1,
    )
    strides = [w + 3 for _, w in sizes]
    areas = [(h + 3) * (w + 3) for h, w in sizes]
    first = [sum(areas[:level]) + stride + 1 for level, stride in enumerate(strides)]

    def of_points(numbers: Sequence[int]) -> list[int]:
        """A number for each level, repeated for its points: long rows are quick to work on."""
        return [number for number in numbers for _ in range(points)]

    # Numbers of the table's rows, each of one head; 32 bits halve what has to be moved.
    whole: dict[str, Any] = {"device": device, "dtype": torch.int32}
    right, column = _cell(pixels[..., 0], constant(of_points([w for _, w in sizes]), device))
    below, row = _cell(pixels[..., 1], constant(of_points([h for h, _ in sizes]), device))
    place = row * constant(of_points(strides), **whole) + column
    place = place + constant(of_points(first), **whole)
    place = place + torch.arange(batch, **whole).view(-1, 1, 1, 1) * sum(areas)
    rows = place * heads + torch.arange(heads, **whole)[:, None]
    neighbours = [[0] * len(sizes), [1] * len(sizes), strides, [s + 1 for s in strides]]
    steps = constant([[heads * s for s in of_points(step)] for step in neighbours], **whole)
    vertical = torch.stack((1 - below, below), -2) * weights.flatten(-2)[..., None, :]
    horizontal = torch.stack((1 - right, right), -2)
    factors = vertical[..., None, :] * horizontal[..., None, :, :]
    bags = batch * queries * heads
    summed = F.embedding_bag(
        (rows[..., None, :] + steps).view(bags, -1),
        table.view(-1, depth),
        per_sample_weights=factors.view(bags, -1),
        mode="sum",
    )
    return summed.view(batch, queries, heads * depth)


def _cell(pixels: Tensor, extent: Tensor) -> tuple[Tensor, Tensor]:
    """The pair of neighbouring pixels that a place lies between, along one axis.

    Args:
        pixels: (..., levels, points).
        extent: (levels * points,), pixels of the level.

    Returns:
        (..., levels * points) each: how far behind the first of the two, 0..1, and which that is,
        -1..extent, int32. NaN gives NaN and 0.
    """
    bounded = torch.minimum(pixels.clamp(min=-1).flatten(-2), extent)
    first = bounded.detach().floor()
    return bounded - first, first.nan_to_num(0).to(torch.int32)
