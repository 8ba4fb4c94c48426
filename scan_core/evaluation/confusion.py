"""Pixels counted by prediction and ground truth, on the device of the class maps."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scan_core.errors import InputError
from scan_core.vocabulary.classes import ClassList, load_class_list

if TYPE_CHECKING:
    from torch import Tensor


def count_pixels(prediction: "Tensor", truth: "Tensor", classes: int) -> "Tensor":
    """Count the pixels of one or several images.

    Args:
        prediction: integer ids 0..K−1, of any shape.
        truth: of the same shape; ids 0..K−1, anything else is no ground truth.
        classes: K.

    Returns:
        (K + 1, K + 1) int64 on the device of `prediction`: row = prediction, column = ground truth;
        the last column has the pixels without ground truth.

    Raises:
        InputError: the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise InputError(
            f"prediction and ground truth differ in size: {tuple(prediction.shape)} and "
            f"{tuple(truth.shape)}"
        )
    side = classes + 1
    labels = truth.to(prediction.device).long()
    labels = labels.where((labels >= 0) & (labels < classes), classes)
    cells = prediction.long() * side + labels
    return cells.flatten().bincount(minlength=side * side).view(side, side)


def cells_and_pixels(
    prediction: "Tensor", truth: "Tensor", classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The counts of `count_pixels` that are not 0, as `counts.image_counts` takes them."""
    counts = count_pixels(prediction, truth, classes).flatten()
    cells = counts.nonzero()[:, 0]
    return cells.cpu().numpy(), counts[cells].cpu().numpy()


def predicted(classes: ClassList) -> ClassList:
    """The class list whose names are given to the network, where a benchmark is scored by one."""
    return classes if classes.predict_with is None else load_class_list(classes.predict_with)


def as_evaluated(prediction: "Tensor", classes: ClassList) -> "Tensor":
    """Predicted ids as the benchmark counts them.

    Where a benchmark predicts with another class list than it is scored by (VOC-20b: the 59
    Context classes, of which the first 20 are VOC's), every id behind the last real class is
    background, the list's last entry.
    """
    return prediction if classes.predict_with is None else prediction.clamp(max=len(classes) - 1)


def mean_iou(confusion: NDArray[np.integer]) -> float:
    """Mean IoU over the classes with ground truth, of counts as `count_pixels` gives them."""
    counts = confusion[:-1, :-1].astype(np.float64)
    intersection, truth = counts.diagonal(), counts.sum(axis=0)
    union, known = truth + counts.sum(axis=1) - intersection, truth > 0
    return float((intersection[known] / union[known]).mean())
