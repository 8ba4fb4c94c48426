"""Are the scores probabilities? How often a classifier is right, by how sure it is.

Confidences are counted in `CELLS` narrow cells, as integers, so that images and shards are added
up exactly; the bins of a reliability diagram are made of whole cells. See `docs/diagnosis.md`.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from scan_core.evaluation.counts import ImageCounts
from scan_core.evaluation.intervals import draws, interval
from scan_core.inference.class_map import pixel_scores

CELLS = 1500
BINS = 15
KINDS = ("proposals", "pixels")
_MATCHED = 0.5  # IoU with a true segment from which a proposal has a class to be right about
_SHAPE = (len(KINDS), 2, 2, CELLS)  # by kind, unseen or seen, wrong or right


def histogram(confidence: Tensor, right: Tensor, seen: Tensor) -> NDArray[np.int64]:
    """(2, 2, `CELLS`): how many are unseen or seen, wrong or right, by their confidence.

    Args:
        confidence: (N,), 0..1.
        right: (N,) bool.
        seen: (N,) bool, whether the true class is.
    """
    cells = (confidence * CELLS).long().clamp(0, CELLS - 1)
    index = (2 * seen.long() + right.long()) * CELLS + cells
    return index.bincount(minlength=4 * CELLS).view(2, 2, CELLS).cpu().numpy()


def proposal_histogram(
    scores: Tensor, right: Tensor, overlap: Tensor, owners: Tensor, seen: Tensor
) -> NDArray[np.int64]:
    """`histogram` of the proposals that match a true segment.

    Args:
        scores: (Q, K') of one classifier.
        right: (Q,), `overlap`: (Q,), see `diagnosis.Matches`.
        owners: (K',) the class that each of the names is counted as.
        seen: (K,) bool.
    """
    chosen = owners[scores.argmax(dim=1)]
    shares = (scores * (owners == chosen[:, None])).sum(dim=1) / scores.sum(dim=1)
    matched = (overlap >= _MATCHED) & ~shares.isnan()
    right, chosen = right[matched].long(), chosen[matched]
    return histogram(shares[matched], chosen == right, seen[right])


def pixel_histogram(
    masks: Tensor, scores: Tensor, class_map: Tensor, truth: Tensor, owners: Tensor, seen: Tensor
) -> NDArray[np.int64]:
    """`histogram` of the pixels with ground truth.

    Args:
        masks: (Q, H', W'), probabilities.
        scores: (Q, K') of one classifier.
        class_map: (H, W), the names that these give.
        truth: (H, W), classes, negative without ground truth.
        owners: see `proposal_histogram`.
        seen: see `proposal_histogram`.
    """
    by_class = scores.new_zeros(len(scores), len(seen)).index_add(1, owners, scores)
    chosen = owners[class_map.long()]
    total = pixel_scores(masks, scores.sum(dim=1, keepdim=True), torch.zeros_like(class_map))
    shares = pixel_scores(masks, by_class, chosen) / total
    labelled = (truth >= 0) & ~shares.isnan()
    labels = truth[labelled].long()
    return histogram(shares[labelled], chosen[labelled] == labels, seen[labels])


def assigned(counts: NDArray[np.integer], equal_mass: bool) -> NDArray[np.intp]:
    """(`CELLS`,): the bin of each cell: of equal width, or about equally full.

    Args:
        counts: (`CELLS`,) how many are in each.
        equal_mass: whether the middle of a cell's ranks decides instead of its confidence.
    """
    if not equal_mass:
        return np.arange(CELLS) * BINS // CELLS
    middle = (np.cumsum(counts) - counts / 2) / max(counts.sum(), 1)
    bins: NDArray[np.intp] = np.minimum((BINS * middle).astype(np.intp), BINS - 1)
    return bins


def reliability(
    counts: ImageCounts, kind: str, group: str, equal_mass: bool = False
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A reliability diagram, and the expected calibration error.

    Args:
        counts: (N, …) of one classifier, a row of histograms for each image; see `diagnose`.
        kind: of `KINDS`.
        group: `all`, `seen` or `unseen` classes.
        equal_mass: see `assigned`.

    Returns:
        for each bin that is not empty the `share` of all that it has, their mean `confidence` and
        `accuracy`; and `error`, its `interval` over the images, the `count`, and the overall
        `confidence` and `accuracy`, all of which are None where there is nothing.
    """
    wanted = {"all": [0, 1], "unseen": [0], "seen": [1]}[group]
    index = np.arange(np.prod(_SHAPE)).reshape(_SHAPE)[KINDS.index(kind)][wanted]
    totals = np.asarray(counts.sum(axis=0)).ravel()[index]
    bins = assigned(totals.sum(axis=(0, 1)), equal_mass)
    middle = (np.arange(CELLS) + 0.5) / CELLS
    # What is added up of every image and bin: number, sum of confidences, number that is right.
    terms = np.zeros((counts.shape[1], 3, BINS))
    terms[index, 0, bins] = 1
    terms[index, 1, bins] = middle
    terms[index[:, 1], 2, bins] = 1
    of_images = counts @ terms.reshape(-1, 3 * BINS)
    number, confidence, correct = of_images.sum(axis=0).reshape(3, BINS)
    known = number > 0
    table = pd.DataFrame(
        {
            "share": number[known] / max(number.sum(), 1),
            "confidence": confidence[known] / number[known],
            "accuracy": correct[known] / number[known],
        }
    )
    if not known.any():
        return table, dict.fromkeys(("error", "interval", "confidence", "accuracy")) | {"count": 0}
    errors = _errors(draws(len(of_images))[1:] @ of_images)
    return table, {
        "error": float(_errors(of_images.sum(axis=0)[None])[0]),
        "interval": interval(errors),
        "count": int(number.sum()),
        "confidence": float(confidence.sum() / number.sum()),
        "accuracy": float(correct.sum() / number.sum()),
    }


def _errors(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R,): mean over all of how far a bin's confidence is from its accuracy."""
    number, confidence, correct = np.split(sums, 3, axis=1)
    with np.errstate(invalid="ignore"):
        error: NDArray[np.float64] = np.abs(confidence - correct).sum(axis=1) / number.sum(axis=1)
    return error
