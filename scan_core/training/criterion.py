"""The segmenter's loss: Mask2Former's set criterion, over all decoder outputs at once.

Proposals are matched to true masks (DETR's bipartite matching, with Mask2Former's costs), then
classes and masks of the pairs are compared. Masks are compared at points instead of at every pixel
(PointRend, Mask2Former).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from scan_core.errors import InputError
from scan_core.models.mask_decoder import Proposals

# Gives uniform random numbers in [0, 1) of a shape.
Uniform = Callable[[tuple[int, ...]], Tensor]


class PointDraws(NamedTuple):
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
    chosen = uncertainty.topk(important, dim=1, sorted=False).indices
    taken = flat.gather(1, chosen[..., None].expand(-1, -1, 2))
    return torch.cat((taken.view(outputs, masks, important, 2), draws.random), dim=2)


class Target(NamedTuple):
    """What is truly in an image.

    Attributes:
        classes: (N,) int64, training ids.
        masks: (N, H, W) bool.
    """

    classes: Tensor
    masks: Tensor


class Matching(NamedTuple):
    """Pairs of a proposal and a true mask, for every decoder output.

    The pairs of an image follow each other in the order of the proposals; images follow each
    other, and have the same places in every output.

    Attributes:
        images: (N,) int64, the image of each pair.
        queries: (L, N) int64, the proposal.
        targets: (L, N) int64, the true mask, counted over the whole batch.
        is_finite: whether all costs were finite. If not, the pairs mean nothing.
    """

    images: Tensor
    queries: Tensor
    targets: Tensor
    is_finite: bool


class Losses(NamedTuple):
    """Weighted losses of every decoder output, the last layer's at the end.

    Attributes:
        classes: (L,), classification.
        masks: (L,), binary cross-entropy.
        dice: (L,).
        total: scalar, what is minimised.
        matching: the pairs that they were computed for.
    """

    classes: Tensor
    masks: Tensor
    dice: Tensor
    total: Tensor
    matching: Matching


@dataclass(frozen=True)
class SetCriterion:
    """Match proposals to true masks, then compare classes and masks.

    Attributes:
        class_weight: of the classification loss, and of its cost in the matching.
        mask_weight: of the binary cross-entropy, likewise.
        dice_weight: of the dice loss, likewise.
        no_object_weight: of the no-object class within the classification loss.
        points: at which masks are compared.
        discard_last_auxiliary: the released defect: the losses of the output before the last
            layer are left out.
    """

    class_weight: float
    mask_weight: float
    dice_weight: float
    no_object_weight: float
    points: int
    discard_last_auxiliary: bool = False

    def __call__(
        self,
        logits: Tensor,
        proposals: Proposals,
        targets: Sequence[Target],
        draws: PointDraws,
        mean_masks: float | Tensor | None = None,
    ) -> Losses:
        """Compute all losses, in float32.

        If any proposal has NaNs, the total is NaN, whatever is matched.

        Args:
            logits: (L, B, Q, K + 1), no-object last.
            proposals: of the same L outputs.
            targets: of the B images; an image may have none. All masks have one size.
            draws: from `draw_points`.
            mean_masks: true masks of a micro-batch, on average over all of the step; the mean of
                the micro-batches' losses is then that of the step in one piece. None: those of
                this batch, and less than one counts as one.

        Raises:
            InputError: an image has more masks than there are proposals.
        """
        queries = logits.shape[2]
        if (most := max(len(target.classes) for target in targets)) > queries:
            raise InputError(
                f"an image has {most} masks, but the segmenter proposes {queries} at most; "
                "raise 'segmenter.mask_decoder.queries'"
            )
        logits = logits.float()
        embeddings, features = proposals.mask_embeddings.float(), proposals.mask_features.float()
        matching = self.match(logits, embeddings, features, targets, draws.match)
        own = float(sum(len(target.classes) for target in targets))
        count = own if mean_masks is None else mean_masks
        # Every true mask has its proposal, so the weights' sum is known beforehand.
        empty = len(targets) * queries - count
        classes = self._class_loss(logits, targets, matching) / (
            count + empty * self.no_object_weight
        )
        classes = self.class_weight * classes
        masks, dice = self._mask_losses(embeddings, features, targets, matching, draws)
        divisor = max(own, 1.0) if mean_masks is None else count
        masks = self.mask_weight * masks / divisor
        dice = self.dice_weight * dice / divisor
        sums = classes + masks + dice
        total = sums.sum()
        if self.discard_last_auxiliary and len(sums) > 1:
            total = torch.cat((sums[:-2], sums[-1:])).sum()
        if not matching.is_finite:
            total = total * math.nan
        return Losses(classes, masks, dice, total, matching)

    @torch.no_grad()
    def match(
        self,
        logits: Tensor,
        mask_embeddings: Tensor,
        mask_features: Tensor,
        targets: Sequence[Target],
        points: Tensor,
    ) -> Matching:
        """Find the cheapest pairs by −p(class), mean binary cross-entropy at the points, and dice.

        Mask logits at the points are the embeddings times the mask features at the points: no mask
        is made in full. The costs of all images and outputs go to the CPU in one transfer.

        Args:
            logits: (L, B, Q, K + 1) float32.
            mask_embeddings: (L, B, Q, M) float32.
            mask_features: (B, M, H, W) float32.
            targets: of the B images; an image may have none.
            points: (L or 1, B, P, 2).
        """
        outputs, images, queries, _ = logits.shape
        sets, _, count, _ = points.shape
        flat = points.transpose(0, 1).flatten(1, 2)
        features = sample(mask_features, flat).unflatten(2, (sets, count)).permute(2, 0, 1, 3)
        x = mask_embeddings @ features
        # Images with fewer masks than others are padded. Bytes become floats faster than booleans.
        classes = pad_sequence([target.classes for target in targets], batch_first=True)
        masks = pad_sequence([one.masks.view(torch.uint8) for one in targets], batch_first=True)
        truth = sample(masks.to(x.dtype), flat).unflatten(2, (sets, count)).permute(2, 0, 3, 1)
        # softplus(x) − x·t is the binary cross-entropy; only the second part depends on both.
        cross_entropy = (F.softplus(x).sum(-1, keepdim=True) - x @ truth) / count
        probability = x.sigmoid()
        total = probability.sum(-1, keepdim=True) + truth.sum(2, keepdim=True)
        dice = 1 - (2 * probability @ truth + 1) / (total + 1)
        chosen = classes[None, :, None].expand(outputs, -1, queries, -1)
        likely = logits.softmax(-1).gather(-1, chosen)
        cost = self.mask_weight * cross_entropy + self.dice_weight * dice
        on_cpu = (cost - self.class_weight * likely).cpu().numpy()
        # Do not stop here: the other processes would wait for this one.
        is_finite = bool(np.isfinite(on_cpu).all())
        if not is_finite:
            on_cpu = np.zeros_like(on_cpu)

        sizes = [len(target.classes) for target in targets]
        rows = np.empty((outputs, sum(sizes)), np.int64)
        columns = np.empty_like(rows)
        written = 0
        for image, size in enumerate(sizes):
            for output in range(outputs):
                pairs = linear_sum_assignment(on_cpu[output, image, :, :size])
                rows[output, written : written + size] = pairs[0]
                columns[output, written : written + size] = pairs[1] + written
            written += size
        image_of = np.repeat(np.arange(images), sizes)
        # One copy, which does not block.
        together = torch.from_numpy(np.concatenate((image_of[None], rows, columns)))
        if logits.is_cuda:
            together = together.pin_memory()
        together = together.to(logits.device, non_blocking=True)
        return Matching(together[0], together[1 : outputs + 1], together[outputs + 1 :], is_finite)

    def _class_loss(self, logits: Tensor, targets: Sequence[Target], matching: Matching) -> Tensor:
        """(L,): weighted cross-entropy, summed over all proposals."""
        outputs, _, _, classes = logits.shape
        truth = torch.full(logits.shape[:3], classes - 1, device=logits.device)
        labels = torch.cat([target.classes for target in targets])
        row = torch.arange(outputs, device=logits.device)[:, None]
        truth[row, matching.images, matching.queries] = labels[matching.targets]
        weight = torch.ones(classes, device=logits.device)
        weight[-1] = self.no_object_weight
        losses = F.cross_entropy(
            logits.flatten(0, 2), truth.flatten(), weight=weight, reduction="none"
        )
        return losses.view(outputs, -1).sum(1)

    def _mask_losses(
        self,
        embeddings: Tensor,
        features: Tensor,
        targets: Sequence[Target],
        matching: Matching,
        draws: PointDraws,
    ) -> tuple[Tensor, Tensor]:
        """(L,) and (L,): cross-entropy and dice, summed over the pairs."""
        outputs = len(embeddings)
        row = torch.arange(outputs, device=embeddings.device)[:, None]
        matched = embeddings[row, matching.images, matching.queries]
        sizes = [len(target.classes) for target in targets]
        logits = torch.cat(
            [
                torch.einsum("lnm,mhw->lnhw", part, image)
                for part, image in zip(matched.split(sizes, dim=1), features, strict=True)
            ],
            dim=1,
        )
        if not logits.shape[1]:
            zero = logits.sum((1, 2, 3))
            return zero, zero
        points = important_points(logits.detach(), draws, self.points)
        predicted = sample(logits.flatten(0, 1)[:, None], points.flatten(0, 1))
        predicted = predicted.view(outputs, -1, self.points)
        truth = self._truth_at(points, targets, matching)
        cross_entropy = F.binary_cross_entropy_with_logits(predicted, truth, reduction="none")
        probability = predicted.sigmoid()
        overlap = 2 * (probability * truth).sum(2)
        dice = 1 - (overlap + 1) / (probability.sum(2) + truth.sum(2) + 1)
        return cross_entropy.mean(2).sum(1), dice.sum(1)

    @torch.no_grad()
    def _truth_at(self, points: Tensor, targets: Sequence[Target], matching: Matching) -> Tensor:
        """(L, N, P): the true masks at the points of each pair.

        Every mask is read at the points of all outputs in one go, so that none is copied.
        """
        outputs = len(points)
        row = torch.arange(outputs, device=points.device)[:, None]
        by_mask = torch.empty_like(points)
        by_mask[row, matching.targets] = points
        masks = torch.cat([target.masks.view(torch.uint8) for target in targets])[:, None]
        read = sample(masks.to(points.dtype), by_mask.transpose(0, 1).flatten(1, 2))[:, 0]
        read = read.unflatten(1, (outputs, self.points)).transpose(0, 1)
        return read[row, matching.targets]
