"""SG-IoU, the semantic-guided IoU proposed with SCAN: it forgives a class for its father.

A pixel of class c that is predicted as c's semantic father f counts for c in proportion to how
reliable predictions of f are on c and f:

    tp'_c = tp_c + Σ_f conf[f, c] · (conf[f, c] + conf[f, f]) / predicted_f

The union keeps the unmodified true positives, and fathers keep their own IoU, as in the
released implementation.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scan_core.evaluation.metrics import SegmentationMetrics, segmentation_metrics


def sg_true_positives(
    confusion: NDArray[np.integer], fathers: Mapping[int, Sequence[int]]
) -> NDArray[np.float64]:
    """True positives of every class with those that its fathers lend.

    Args:
        confusion: (K+1, K+1) pixel counts, row = prediction, column = ground truth, the last
            column without ground truth.
        fathers: training id of a class -> training ids of its semantic fathers.

    Returns:
        (K,) float64, pixels.
    """
    counts = confusion[:-1, :-1].astype(np.float64)
    predicted = counts.sum(axis=1)
    result = counts.diagonal().copy()
    for child, its_fathers in fathers.items():
        for father in its_fathers:
            if predicted[father]:
                lent = counts[father, child]
                result[child] += lent * (lent + counts[father, father]) / predicted[father]
    return result


def sg_metrics(
    confusion: NDArray[np.integer], fathers: Mapping[int, Sequence[int]]
) -> SegmentationMetrics:
    """All metrics with the semantic-guided true positives.

    The published SG-IoU is `miou_d2_v06` of the result.

    Args:
        confusion: see `sg_true_positives`.
        fathers: see `sg_true_positives`.
    """
    return segmentation_metrics(confusion, sg_true_positives(confusion, fathers))
