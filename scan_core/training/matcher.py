"""Bipartite matching between proposals and true masks (DETR, with Mask2Former's costs)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from scan_core.training.points import sample


@dataclass(frozen=True)
class Target:
    """What is truly in an image.

    Attributes:
        classes: (N,) int64, training ids.
        masks: (N, H, W) bool.
    """

    classes: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Matching:
    """Pairs of a proposal and a true mask, for every decoder output.

    The pairs of an image follow each other in the order of the proposals; images follow each
    other, and have the same places in every output.

    Attributes:
        images: (N,) int64, the image of each pair.
        queries: (L, N) int64, the proposal.
        targets: (L, N) int64, the true mask, counted over the whole batch.
        is_finite: whether all costs were numbers. If not, the pairs mean nothing.
    """

    images: Tensor
    queries: Tensor
    targets: Tensor
    is_finite: bool


@torch.no_grad()
def match(
    logits: Tensor,
    mask_embeddings: Tensor,
    mask_features: Tensor,
    targets: Sequence[Target],
    points: Tensor,
    class_weight: float,
    mask_weight: float,
    dice_weight: float,
) -> Matching:
    """Find the cheapest pairs.

    Mask logits at the points are the embeddings times the mask features at the points: no mask
    is made in full. The costs of all images and outputs go to the CPU in one transfer.

    Args:
        logits: (L, B, Q, K + 1) float32.
        mask_embeddings: (L, B, Q, M) float32.
        mask_features: (B, M, H, W) float32.
        targets: of the B images; an image may have none.
        points: (L or 1, B, P, 2).
        class_weight: weight of −p(class).
        mask_weight: weight of the mean binary cross-entropy at the points.
        dice_weight: weight of the dice loss.
    """
    outputs, _, queries, _ = logits.shape
    sets = points.shape[0]
    count = points.shape[2]
    features = sample(mask_features, points.transpose(0, 1).flatten(1, 2))
    features = features.unflatten(2, (sets, count)).permute(2, 0, 1, 3)
    at_points = mask_embeddings @ features
    costs = []
    for index, target in enumerate(targets):
        truth = sample(
            target.masks[None].to(mask_features.dtype), points[:, index].flatten(0, 1)[None]
        )[0]
        truth = truth.unflatten(1, (sets, count)).permute(1, 2, 0)
        x = at_points[:, index]
        # softplus(x) − x·t is the binary cross-entropy; only the second part depends on both.
        cross_entropy = (F.softplus(x).sum(-1, keepdim=True) - x @ truth) / count
        probability = x.sigmoid()
        overlap = 2 * probability @ truth
        total = probability.sum(-1, keepdim=True) + truth.sum(1)[:, None]
        dice = 1 - (overlap + 1) / (total + 1)
        classes = -logits[:, index].softmax(-1)[..., target.classes]
        cost = class_weight * classes + mask_weight * cross_entropy + dice_weight * dice
        costs.append(cost.flatten())
    on_cpu = torch.cat(costs).cpu().numpy()
    # Some pairs are found in any case: a process that stopped here would leave the others waiting.
    is_finite = bool(np.isfinite(on_cpu).all())
    if not is_finite:
        on_cpu = np.zeros_like(on_cpu)

    sizes = [len(target.classes) for target in targets]
    rows = np.empty((outputs, sum(sizes)), np.int64)
    columns = np.empty_like(rows)
    read = written = 0
    for size in sizes:
        block = on_cpu[read : read + outputs * queries * size].reshape(outputs, queries, size)
        read += block.size
        for output in range(outputs):
            pairs = linear_sum_assignment(block[output])
            rows[output, written : written + size] = pairs[0]
            columns[output, written : written + size] = pairs[1] + written
        written += size
    images = np.repeat(np.arange(len(sizes)), sizes)
    # One copy, for which nobody waits.
    together = torch.from_numpy(np.concatenate((images[None], rows, columns)))
    if logits.is_cuda:
        together = together.pin_memory()
    together = together.to(logits.device, non_blocking=True)
    return Matching(together[0], together[1 : outputs + 1], together[outputs + 1 :], is_finite)
