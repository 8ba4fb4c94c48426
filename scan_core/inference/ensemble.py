"""How the two classifiers' scores become one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from scan_core.models.constants import constant
from scan_core.params.settings import TestSettings


def merge_synonyms(logits: Tensor, owners: Sequence[int]) -> Tensor:
    """One logit for each class: that of its best synonym.

    Merged before the softmax, as ODISE and FC-CLIP do, so that a class loses nothing to its own
    synonyms.

    Args:
        logits: (Q, W), of all words.
        owners: for each word its class, 0..K-1, each at least once.

    Returns:
        (Q, K).
    """
    index = constant(owners, logits.device).expand(len(logits), -1)
    merged = logits.new_full((len(logits), max(owners) + 1), -torch.inf)
    return merged.scatter_reduce(1, index, logits, "amax")


def combine_scores(
    in_vocabulary_logits: Tensor,
    clip_logits: Tensor,
    valid: Tensor,
    settings: TestSettings,
    rejected_score_one: bool = False,
    zero_weight_is_clip_only: bool = False,
) -> Tensor:
    """Scores of every proposal for every class.

    With p the softmax of the in-vocabulary logits over classes and no-object, c the softmax of
    CLIP's logits over classes, and w the weight: p^(1 − w) · c^w, not renormalised (SCAN,
    equation 8). A proposal that CLIP was not shown has no c; it keeps p.

    Args:
        in_vocabulary_logits: (Q, K + 1), no-object last.
        clip_logits: (Q, K); rows of proposals that are not valid are not looked at.
        valid: (Q,) bool, whether CLIP has classified the proposal.
        settings: weight and kind of the ensemble.
        rejected_score_one: the released defect: c = 1 for all classes of a proposal that is not
            valid, so that it scores higher than any that CLIP has looked at.
        zero_weight_is_clip_only: the released defect: weight 0 gives c alone, and nothing to
            proposals that are not valid, instead of p alone.

    Returns:
        (Q, K) float32, at least 0.
    """
    probabilities = in_vocabulary_logits.float().softmax(dim=-1)
    inside, void = probabilities[:, :-1], probabilities[:, -1:]
    weight = settings.clip_weight
    # Rows that are not valid may hold anything.
    classified = clip_logits.float().masked_fill(~valid[:, None], 0).softmax(dim=-1)
    if zero_weight_is_clip_only and weight == 0:
        return classified * valid[:, None]
    missing = torch.ones_like(inside) if rejected_score_one else inside
    outside = torch.where(valid[:, None], classified, missing)
    scores = inside ** (1 - weight) * outside**weight
    if settings.ensemble == "log":
        scores = scores / scores.sum(dim=-1, keepdim=True) * (1 - void)
    return scores
