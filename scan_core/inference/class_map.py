"""From scores of two classifiers and mask logits to a class for every pixel, in bounded memory."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from scan_core.models.cpu_linear import ConvolutionalLinear
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


def mask_probabilities(logits: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Masks at the size of the resized image.

    Args:
        logits: (Q, h, w) at stride 4 of the padded image.
        padded: height and width of the padded image.
        size: height and width of the image in its upper left corner.

    Returns:
        (Q, H, W) float32, probabilities.
    """
    full = F.interpolate(logits.float()[None], padded, mode="bilinear", align_corners=False)[0]
    return full[:, : size[0], : size[1]].sigmoid()


def class_scores(masks: Tensor, scores: Tensor, output_size: tuple[int, int]) -> Tensor:
    """The score of every class at every pixel. For K classes it takes K · H · W · 4 bytes.

    Args:
        masks: (Q, H, W), probabilities.
        scores: (Q, K).
        output_size: height and width of the result.

    Returns:
        (K, *output_size) float32.
    """
    maps = torch.einsum("qk,qhw->khw", scores, masks)
    return F.interpolate(maps[None], output_size, mode="bilinear", align_corners=False)[0]


def class_maps(
    masks: Tensor, score_sets: Sequence[Tensor], output_size: tuple[int, int]
) -> list[Tensor]:
    """The best class at every pixel, for one or several sets of scores.

    Equal to the argmax of `class_scores`. Resizing is linear, so it is the masks that are
    resized, a few rows at a time and once for all sets; scores of all classes exist only for
    these rows. Of equal scores the first class wins. Sets that are equal, such as those of two
    thresholds between which no mask falls, share one map.

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
    elements = _CHUNK_ELEMENTS.get(masks.device.type, _CHUNK_ELEMENTS["cpu"])
    rows = max(1, elements // (most_classes * output_size[1]))
    maps = {
        content: torch.empty(output_size, dtype=torch.int32, device=masks.device)
        for content in distinct
    }
    weights = {content: scores.T.contiguous() for content, scores in distinct.items()}
    with ConvolutionalLinear():
        for first, part in _resized_rows(masks, output_size, rows):
            pixels = part.flatten(1).T.contiguous()
            for content, weight in weights.items():
                best = F.linear(pixels, weight).argmax(dim=1)
                maps[content][first : first + rows] = best.view(part.shape[1:])
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
    elements = _CHUNK_ELEMENTS.get(masks.device.type, _CHUNK_ELEMENTS["cpu"])
    rows = max(1, elements // (len(masks) * width))
    found = masks.new_empty(height, width)
    for first, part in _resized_rows(masks, (height, width), rows):
        part_of_map = class_map[first : first + rows].long()
        found[first : first + rows] = (part * scores[:, part_of_map]).sum(dim=0)
    return found


def _resized_rows(
    masks: Tensor, output_size: tuple[int, int], rows: int
) -> Iterator[tuple[int, Tensor]]:
    """Bilinearly resized masks, `rows` rows at a time: the first row, and (Q, rows, width)."""
    height, width = output_size
    if masks.shape[1:] == output_size:
        yield from zip(range(0, height, rows), masks.split(rows, dim=1), strict=True)
        return
    # Vertical positions by hand, so that a part equals the same rows of the whole.
    scale = masks.shape[1] / height
    position = (torch.arange(height, device=masks.device) + 0.5) * scale - 0.5
    position = position.clamp(min=0)
    upper = position.floor().long().clamp(max=masks.shape[1] - 1)
    lower = (upper + 1).clamp(max=masks.shape[1] - 1)
    fraction = (position - upper).clamp(max=1)[:, None]
    for start in range(0, height, rows):
        part = slice(start, start + rows)
        part_of_masks = masks[:, upper[part]].lerp(masks[:, lower[part]], fraction[part])
        if width != masks.shape[2]:
            part_of_masks = F.interpolate(
                part_of_masks, (width,), mode="linear", align_corners=False
            )
        yield start, part_of_masks
