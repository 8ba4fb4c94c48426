"""The segmenter's loss: Mask2Former's set criterion, over all decoder outputs at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from scan_core.errors import InputError
from scan_core.models.mask_decoder import Proposals
from scan_core.training.matcher import Matching, Target, match
from scan_core.training.points import PointDraws, important_points, sample


@dataclass(frozen=True)
class Losses:
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


class SetCriterion:
    """Match proposals to true masks, then compare classes and masks.

    Args:
        class_weight: of the classification loss, and of its cost in the matching.
        mask_weight: of the binary cross-entropy, likewise.
        dice_weight: of the dice loss, likewise.
        no_object_weight: of the no-object class within the classification loss.
        points: at which masks are compared.
        discard_last_auxiliary: the released defect: the losses of the output before the last
            layer are left out.
    """

    def __init__(
        self,
        class_weight: float,
        mask_weight: float,
        dice_weight: float,
        no_object_weight: float,
        points: int,
        discard_last_auxiliary: bool = False,
    ) -> None:
        self.class_weight, self.mask_weight, self.dice_weight = (
            class_weight,
            mask_weight,
            dice_weight,
        )
        self.no_object_weight, self.points = no_object_weight, points
        self.discard_last_auxiliary = discard_last_auxiliary

    def __call__(
        self,
        logits: Tensor,
        proposals: Proposals,
        targets: Sequence[Target],
        draws: PointDraws,
        mean_masks: float | Tensor | None = None,
    ) -> Losses:
        """Compute all losses, in float32.

        Where proposals are no numbers the losses are none either, whatever they are matched to.

        Args:
            logits: (L, B, Q, K + 1), no-object last.
            proposals: of the same L outputs.
            targets: of the B images; an image may have none. All masks have one size.
            draws: from `points.draw_points`.
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
        matching = match(
            logits,
            embeddings,
            features,
            targets,
            draws.match,
            self.class_weight,
            self.mask_weight,
            self.dice_weight,
        )
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
        masks = torch.cat([target.masks for target in targets])[:, None].to(points.dtype)
        read = sample(masks, by_mask.transpose(0, 1).flatten(1, 2))[:, 0]
        read = read.unflatten(1, (outputs, self.points)).transpose(0, 1)
        return read[row, matching.targets]
