"""From embeddings, crop features and text features to scores, and to a class for every pixel.

The NumPy twin of `scan_core.inference.ensemble` and `scan_core.inference.class_map`.
"""

import numpy as np
from numpy.typing import NDArray

from scan_core.apps.exported.crops import Bools
from scan_core.apps.exported.interpolation import Floats, linear_places, resize_linear
from scan_core.params.settings import TestSettings

# Class scores of this many pixels × classes are held at once: 4 MB.
_CHUNK_ELEMENTS = 2**20
_LEAST_NORM = np.float32(1e-12)


def sigmoid(x: Floats) -> Floats:
    """Elementwise 1 / (1 + e^−x)."""
    with np.errstate(over="ignore"):
        return np.float32(1) / (np.float32(1) + np.exp(-x))


def softmax(x: Floats) -> Floats:
    """Over the last axis."""
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Floats = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result


def class_logits(embeddings: Floats, text: Floats, scale: float) -> Floats:
    """(Q, E) of any length and (K, E) of unit length to (Q, K) scaled cosine similarities."""
    norms = np.maximum(np.linalg.norm(embeddings, axis=-1, keepdims=True), _LEAST_NORM)
    logits: Floats = np.float32(scale) * (embeddings / norms) @ text.T
    return logits


def merge_synonyms(logits: Floats, owners: NDArray[np.int64]) -> Floats:
    """(Q, W), of all words, to (Q, K): for each class the logit of its best synonym."""
    merged = np.full((owners.max() + 1, len(logits)), -np.inf, np.float32)
    np.maximum.at(merged, owners, logits.T)
    return merged.T


def combine_scores(
    inside_logits: Floats,
    clip_logits: Floats,
    valid: Bools,
    settings: TestSettings,
    rejected_score_one: bool,
    zero_weight_is_clip_only: bool,
) -> Floats:
    """Scores of every proposal for every class; see `scan_core.inference.ensemble`.

    Args:
        inside_logits: (Q, K + 1), no-object last.
        clip_logits: (Q, K); rows that are not valid are not looked at.
        valid: (Q,), whether CLIP has classified the proposal.
        settings: weight and kind of the ensemble.
        rejected_score_one: the released defect.
        zero_weight_is_clip_only: the released defect.

    Returns:
        (Q, K).
    """
    probabilities = softmax(inside_logits)
    inside, void = probabilities[:, :-1], probabilities[:, -1:]
    weight = settings.clip_weight
    classified = softmax(np.where(valid[:, None], clip_logits, np.float32(0)))
    if weight == 0 and zero_weight_is_clip_only:
        return classified * valid[:, None]
    missing = np.ones_like(inside) if rejected_score_one else inside
    outside = np.where(valid[:, None], classified, missing)
    scores = inside ** np.float32(1 - weight) * outside ** np.float32(weight)
    if settings.ensemble == "log":
        scores = scores / scores.sum(axis=-1, keepdims=True) * (1 - void)
    result: Floats = scores.astype(np.float32, copy=False)
    return result


def class_map(masks: Floats, scores: Floats, size: tuple[int, int]) -> NDArray[np.int32]:
    """The best class at every pixel; of equal scores the first class.

    Args:
        masks: (Q, H, W), probabilities.
        scores: (Q, K).
        size: height and width of the result.

    Returns:
        (*size).
    """
    height, width = size
    result = np.empty(size, np.int32)
    weights = np.ascontiguousarray(scores.T)
    before, after, fraction = linear_places(masks.shape[1], height)
    rows = max(1, _CHUNK_ELEMENTS // (len(weights) * width))
    for start in range(0, height, rows):
        part = slice(start, start + rows)
        if masks.shape[1] == height:
            strip = masks[:, part]
        else:
            upper, lower = masks[:, before[part]], masks[:, after[part]]
            strip = upper + (lower - upper) * fraction[part][:, None]
        strip = resize_linear(strip, width, -1)
        best = (weights @ strip.reshape(len(masks), -1)).argmax(axis=0)
        result[part] = best.reshape(strip.shape[1:])
    return result
