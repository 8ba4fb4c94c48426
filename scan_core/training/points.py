"""Points at which masks are compared, instead of at every pixel (PointRend, Mask2Former)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# Gives uniform random numbers in [0, 1) of a shape.
Uniform = Callable[[tuple[int, ...]], Tensor]


@dataclass(frozen=True)
class PointDraws:
    """All random points of one step; x and y within the image, 0..1.

    Attributes:
        match: (L or 1, B, P, 2), where predictions are compared to find the matching; 1: the
            same points for all L decoder outputs.
        candidates: (L, N, oversample · P, 2), of which the most uncertain are taken.
        random: (L, N, P − important, 2), taken as they are.
    """

    match: Tensor
    candidates: Tensor
    random: Tensor


def draw_points(
    uniform: Uniform,
    outputs: int,
    images: int,
    masks: int,
    points: int,
    oversample_ratio: float,
    importance_ratio: float,
) -> PointDraws:
    """Draw the points of a step, all decoder outputs at once.

    Args:
        uniform: source of random numbers, on the device of the result.
        outputs: L, decoder outputs.
        images: B.
        masks: N, true masks of the batch.
        points: P.
        oversample_ratio: candidates for each point.
        importance_ratio: share of the points that are chosen among the candidates.
    """
    important = int(importance_ratio * points)
    return PointDraws(
        match=uniform((1, images, points, 2)),
        candidates=uniform((outputs, masks, int(points * oversample_ratio), 2)),
        random=uniform((outputs, masks, points - important, 2)),
    )


def sample(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples, zero beyond half a pixel outside of the map.

    Args:
        maps: (N, C, H, W).
        points: (N, P, 2), x and y within the map, 0..1.

    Returns:
        (N, C, P).
    """
    return F.grid_sample(maps, 2 * points[:, :, None] - 1, align_corners=False)[..., 0]


@torch.no_grad()
def important_points(logits: Tensor, draws: PointDraws, points: int) -> Tensor:
    """The points where matched masks are compared: the most uncertain, and some random ones.

    Args:
        logits: (L, N, H, W), of the matched masks.
        draws: the step's points.
        points: P.

    Returns:
        (L, N, P, 2).
    """
    outputs, masks = logits.shape[:2]
    important = points - draws.random.shape[2]
    flat = draws.candidates.flatten(0, 1)
    uncertainty = -sample(logits.flatten(0, 1)[:, None], flat)[:, 0].abs()
    chosen = uncertainty.topk(important, dim=1).indices
    taken = flat.gather(1, chosen[..., None].expand(-1, -1, 2))
    return torch.cat((taken.view(outputs, masks, important, 2), draws.random), dim=2)
