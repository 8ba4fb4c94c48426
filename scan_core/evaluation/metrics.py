"""Metrics of semantic segmentation, from a confusion matrix.

Two rules for the mean of the IoU are in use, and both are always given, each by its name:

    miou         mean over the classes with ground truth (detectron2 since 2022, FC-CLIP, CAT-Seg)
    miou_d2_v06  their sum divided by the number of classes with ground truth or predictions
                 (detectron2 up to 0.6, and with it SCAN, OVSeg, ODISE, MAFT)

They differ only where a class has no ground truth, as 114 of Context-459's have none.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SegmentationMetrics:
    """All metrics of one confusion matrix; fractions, not per cent.

    Attributes:
        iou: (K,) float64, intersection over union; NaN for a class without ground truth.
        counted: (K,) bool, classes with ground truth or predictions.
        accuracy: (K,) float64, recall of its pixels; NaN for a class without ground truth.
        miou: mean IoU over classes with ground truth.
        miou_d2_v06: the same sum over the number of classes with ground truth or predictions.
        fwiou: IoU weighted by the class's share of the ground truth.
        macc: mean accuracy over classes with ground truth.
        pacc: share of the pixels with ground truth that are right.
    """

    iou: NDArray[np.float64]
    counted: NDArray[np.bool_]
    accuracy: NDArray[np.float64]
    miou: float
    miou_d2_v06: float
    fwiou: float
    macc: float
    pacc: float

    def mean_over(self, classes: Iterable[int]) -> tuple[float, float]:
        """Mean IoU of some classes, such as the seen ones, by both rules.

        Args:
            classes: training ids.

        Returns:
            by the rules of `miou` and of `miou_d2_v06`; NaN where no class counts.
        """
        chosen = list(classes)
        iou = self.iou[chosen]
        present = iou[~np.isnan(iou)]
        total = float(present.sum())
        return _mean(total, present.size), _mean(total, int(self.counted[chosen].sum()))


def segmentation_metrics(
    confusion: NDArray[np.integer], true_positives: NDArray[np.float64] | None = None
) -> SegmentationMetrics:
    """Compute all metrics of a confusion matrix.

    Args:
        confusion: (K+1, K+1) pixel counts, row = prediction, column = ground truth; the last
            column holds pixels without ground truth, which count nowhere.
        true_positives: (K,) replaces the diagonal as numerator, as SG-IoU does. The union keeps
            the diagonal.

    Returns:
        the metrics. A matrix without any ground truth gives NaN.
    """
    counts = confusion[:-1, :-1].astype(np.float64)
    diagonal = counts.diagonal()
    numerator = diagonal if true_positives is None else true_positives
    of_truth, of_prediction = counts.sum(axis=0), counts.sum(axis=1)
    present = of_truth > 0

    def divided(denominator: NDArray[np.float64]) -> NDArray[np.float64]:
        result = np.full(len(counts), np.nan)
        np.divide(numerator, denominator, out=result, where=present)
        return result

    iou = divided(of_truth + of_prediction - diagonal)
    accuracy = divided(of_truth)
    total_iou = float(iou[present].sum())
    counted = of_truth + of_prediction > 0
    return SegmentationMetrics(
        iou=iou,
        counted=counted,
        accuracy=accuracy,
        miou=_mean(total_iou, int(present.sum())),
        miou_d2_v06=_mean(total_iou, int(counted.sum())),
        fwiou=_mean(float((iou[present] * of_truth[present]).sum()), float(of_truth.sum())),
        macc=_mean(float(accuracy[present].sum()), int(present.sum())),
        pacc=_mean(float(numerator.sum()), float(of_truth.sum())),
    )


def _mean(total: float, number: float) -> float:
    return total / number if number else float("nan")
