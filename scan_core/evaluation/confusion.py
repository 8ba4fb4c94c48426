"""Confusion matrices: counted where the class maps are, exact, and mergeable."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scan_core.errors import InputError
from scan_core.vocabulary.classes import ClassList


class ConfusionMatrix:
    """Pixel counts by prediction and ground truth.

    Counts are int64 on the device of the maps, exact up to 9 · 10¹⁸ pixels, and nothing is
    transferred before they are read. Matrices of disjoint parts of a benchmark add up to that
    of the whole.

    Args:
        classes: K.
        device: where to count.
    """

    def __init__(self, classes: int, device: torch.device | str = "cpu") -> None:
        self.classes = classes
        side = classes + 1
        self._counts = torch.zeros(side * side, dtype=torch.int64, device=device)

    @property
    def device(self) -> torch.device:
        """Where the counts are."""
        return self._counts.device

    def add(self, prediction: Tensor, truth: Tensor) -> None:
        """Count one or several images.

        Args:
            prediction: integer ids 0..K−1, of any shape, on this matrix's device.
            truth: of the same shape; ids 0..K−1, anything else is no ground truth.

        Raises:
            InputError: the shapes differ.
        """
        if prediction.shape != truth.shape:
            raise InputError(
                f"prediction and ground truth differ in size: {tuple(prediction.shape)} and "
                f"{tuple(truth.shape)}"
            )
        labels = truth.to(self._counts.device, torch.int64)
        labels = labels.where((labels >= 0) & (labels < self.classes), self.classes)
        cells = prediction.to(torch.int64) * (self.classes + 1) + labels
        self._counts += torch.bincount(cells.flatten(), minlength=len(self._counts))

    def restore(self, counts: NDArray[np.int64]) -> None:
        """Go on from counts that `counts` has given."""
        self._counts = torch.from_numpy(counts.reshape(-1).copy()).to(self.device)

    def counts(self) -> NDArray[np.int64]:
        """(K + 1, K + 1) int64: row = prediction, column = ground truth, the last without."""
        side = self.classes + 1
        table: NDArray[np.int64] = self._counts.view(side, side).cpu().numpy()
        return table


def as_evaluated(prediction: Tensor, classes: ClassList) -> Tensor:
    """Predicted ids as the benchmark counts them.

    Where a benchmark predicts with another class list than it is scored by (VOC-20b: the 59
    Context classes, of which the first 20 are VOC's), every id behind the last real class is
    background, the list's last entry.

    Args:
        prediction: ids of the list that was predicted with.
        classes: what the benchmark is scored by.
    """
    return prediction if classes.predict_with is None else prediction.clamp(max=len(classes) - 1)
