"""SG-IoU, the semantic-guided IoU proposed with SCAN: it forgives a class for its parent.

A pixel of class c that is predicted as c's semantic parent f counts for c in proportion to how
reliable predictions of f are on c and f:

    tp'_c = tp_c + Σ_f conf[f, c] · (conf[f, c] + conf[f, f]) / predicted_f

The union keeps the unmodified true positives, and parents keep their own IoU, as in the
released implementation.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scan_core.evaluation.metrics import SegmentationMetrics, segmentation_metrics


def sg_true_positives(
    confusion: NDArray[np.integer], parents: Mapping[int, Sequence[int]]
) -> NDArray[np.float64]:
    """True positives of every class with those that its parents lend.

    Args:
        confusion: (K+1, K+1) pixel counts, row = prediction, column = ground truth, the last
            column without ground truth.
        parents: training id of a class -> training ids of its semantic parents.

    Returns:
        (K,) float64, pixels.
    """
    counts = confusion[:-1, :-1].astype(np.float64)
    predicted = counts.sum(axis=1)
    result = counts.diagonal().copy()
    for child, its_parents in parents.items():
        for parent in its_parents:
            if predicted[parent]:
                lent = counts[parent, child]
                result[child] += lent * (lent + counts[parent, parent]) / predicted[parent]
    return result


def sg_metrics(
    confusion: NDArray[np.integer], parents: Mapping[int, Sequence[int]]
) -> SegmentationMetrics:
    """All metrics with the semantic-guided true positives.

    The published SG-IoU is `miou_d2_v06` of the result.

    Args:
        confusion: see `sg_true_positives`.
        parents: see `sg_true_positives`.
    """
    return segmentation_metrics(confusion, sg_true_positives(confusion, parents))
