"""From scores of two classifiers and mask logits to a class for every pixel, in bounded memory."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from scan_core.models.cpu_linear import convolutional_linear
from scan_core.models.preprocessing import constant
from scan_core.params.settings import TestSettings

# Class scores of this many pixels × classes are held at once: 1 MB, which stay in a CPU's cache.
_CHUNK_ELEMENTS = {"cpu": 2**18, "cuda": 2**27}


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


def class_maps(
    masks: Tensor, score_sets: Sequence[Tensor], output_size: tuple[int, int]
) -> list[Tensor]:
    """The best class at every pixel, for one or several sets of scores.

    A class scores at a pixel the sum over the proposals of mask times score, resized. Resizing is
    linear, so it is the masks that are resized, a few rows at a time and once for all sets; scores
    of all classes exist only for these rows. Of equal scores the first class wins. Sets that are
    equal, such as those of two thresholds between which no mask falls, share one map.

    Args:
        masks: (Q, H, W), probabilities.
        score_sets: of (Q, K).
        output_size: height and width of the maps.

    Returns:
        for each set (*output_size) int32, not to be changed: it may be that of another set too.
    """
    contents = [scores.cpu().numpy().tobytes() for scores in score_sets]
    distinct = dict(zip(contents, score_sets, strict=True))
    most_classes = max(scores.shape[1] for scores in score_sets)
    maps = {
        content: torch.empty(output_size, dtype=torch.int32, device=masks.device)
        for content in distinct
    }
    weights = {content: scores.T.contiguous() for content, scores in distinct.items()}
    with convolutional_linear():
        for rows, part in _resized_rows(masks, output_size, most_classes):
            pixels = part.flatten(1).T.contiguous()
            for content, weight in weights.items():
                best = F.linear(pixels, weight).argmax(dim=1)
                maps[content][rows] = best.view(part.shape[1:])
    return [maps[content] for content in contents]


def pixel_scores(masks: Tensor, scores: Tensor, class_map: Tensor) -> Tensor:
    """The score of each pixel's own class: the sum over the proposals of mask times score.

    Args:
        masks: (Q, H, W), probabilities.
        scores: (Q, K).
        class_map: (H', W') from `class_maps`.

    Returns:
        (H', W') float32; near 0 where no proposal claims the pixel.
    """
    height, width = class_map.shape
    found = masks.new_empty(height, width)
    for rows, part in _resized_rows(masks, (height, width), len(masks)):
        found[rows] = (part * scores[:, class_map[rows].long()]).sum(dim=0)
    return found


def _resized_rows(
    masks: Tensor, output_size: tuple[int, int], of_a_pixel: int
) -> Iterator[tuple[slice, Tensor]]:
    """Bilinearly resized masks, some rows at a time: which these are, and (Q, rows, width).

    So few rows that so many numbers for each of their pixels stay within `_CHUNK_ELEMENTS`.
    """
    height, width = output_size
    elements = _CHUNK_ELEMENTS.get(masks.device.type, _CHUNK_ELEMENTS["cpu"])
    rows = max(1, elements // (of_a_pixel * width))
    parts = [slice(first, first + rows) for first in range(0, height, rows)]
    if masks.shape[1:] == output_size:
        yield from ((part, masks[:, part]) for part in parts)
        return
    # Vertical positions by hand, so that a part equals the same rows of the whole.
    scale = masks.shape[1] / height
    position = (torch.arange(height, device=masks.device) + 0.5) * scale - 0.5
    position = position.clamp(min=0)
    upper = position.floor().long().clamp(max=masks.shape[1] - 1)
    lower = (upper + 1).clamp(max=masks.shape[1] - 1)
    fraction = (position - upper).clamp(max=1)[:, None]
    for part in parts:
        part_of_masks = masks[:, upper[part]].lerp(masks[:, lower[part]], fraction[part])
        if width != masks.shape[2]:
            part_of_masks = F.interpolate(part_of_masks, (width,), mode="linear")
        yield part, part_of_masks
