"""Metrics of semantic segmentation, from sums over the images of a test set.

Two rules for the mean of the IoU are in use, and both are always given, each by its name:

    miou         mean over the classes with ground truth (detectron2 since 2022, FC-CLIP, CAT-Seg)
    miou_d2_v06  their sum divided by the number of classes with ground truth or predictions
                 (detectron2 up to 0.6, and with it SCAN, OVSeg, ODISE, MAFT)

They differ only where a class has no ground truth, as 114 of Context-459's have none.

SG-IoU, the semantic-guided IoU proposed with SCAN, forgives a class for its parent. A pixel of
class c that is predicted as c's semantic parent f counts for c in proportion to how reliable
predictions of f are on c and f:

    tp'_c = tp_c + Σ_f conf[f, c] · (conf[f, c] + conf[f, f]) / predicted_f

The union keeps the unmodified true positives, and parents keep their own IoU, as in the released
implementation.
"""

from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from scan_core.evaluation.counts import ImageCounts
from scan_core.vocabulary.classes import ClassList

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class ClassSums:
    """What the metrics are computed from, for each of R test sets.

    Args:
        sums: (R, 3K + P) pixels with ground truth: of each class those where it is right, those of
            its ground truth, those of its predictions; and of each of the P pairs of a class and
            its parent, those of the class that are predicted as the parent.
        classes: K classes with their relations.

    Attributes:
        right: (R, K) float64, where prediction and ground truth agree.
        truth: (R, K) float64, of the ground truth.
        predicted: (R, K) float64, of the predictions.
        lent: (R, P) float64, of a class that are predicted as its parent.
    """

    def __init__(self, sums: Floats, classes: ClassList) -> None:
        size = len(classes)
        self.right, self.truth, self.predicted, self.lent = np.split(
            sums, [size, 2 * size, 3 * size], axis=1
        )
        self.classes = classes

    @classmethod
    def of(cls, counts: ImageCounts, classes: ClassList) -> "ClassSums":
        """Of one test set: all images."""
        return cls(np.asarray(terms(counts, classes).sum(axis=0), np.float64)[None], classes)

    @classmethod
    def of_confusion(cls, confusion: NDArray[np.integer], classes: ClassList) -> "ClassSums":
        """Of one test set, from its confusion matrix (K + 1, K + 1); see `count_pixels`."""
        return cls.of(csr_array(confusion.reshape(1, -1)), classes)

    @cached_property
    def guided(self) -> Floats:
        """(R, K): the right pixels of every class with those that its parents lend."""
        children, parents = _pairs(self.classes)
        reliable = _divided(
            self.lent * (self.lent + self.right[:, parents]), self.predicted[:, parents]
        )
        result = np.array(self.right)
        np.add.at(result.T, children, np.nan_to_num(reliable).T)
        return result

    def iou(self, right: Floats | None = None) -> Floats:
        """(R, K): NaN for a class without ground truth; with `guided` in place of `right` SG-IoU.

        Only the numerator changes, the union keeps the unmodified pixels.
        """
        union = np.where(self.truth > 0, self.truth + self.predicted - self.right, 0)
        return _divided(self.right if right is None else right, union)

    def accuracy(self, right: Floats | None = None) -> Floats:
        """(R, K): recall of every class; NaN for a class without ground truth."""
        return _divided(self.right if right is None else right, self.truth)

    def total(self, values: Floats, among: Flags | bool = True) -> Floats:
        """(R,): the sum of (R, K) values over the classes with ground truth, or those `among`."""
        chosen = np.flatnonzero((self.truth > 0).any(axis=0) & among)
        total: Floats = np.nan_to_num(values.take(chosen, axis=1)).sum(axis=1)
        return total

    def mean(self, values: Floats, among: Flags | bool = True) -> Floats:
        """(R,): the mean over the classes with ground truth, or those of them that are `among`."""
        return _divided(self.total(values, among), ((self.truth > 0) & among).sum(axis=1))

    def mean_d2_v06(self, values: Floats, among: Flags | bool = True) -> Floats:
        """(R,): the same sum divided by the number of classes with ground truth or predictions."""
        counted = self.truth + self.predicted > 0
        return _divided(self.total(values, among), (counted & among).sum(axis=1))

    def accuracy_among(self, among: Flags) -> Floats:
        """(R,): the share of the pixels of some classes that are right."""
        return _divided(self.right[:, among].sum(axis=1), self.truth[:, among].sum(axis=1))

    def metrics(self) -> dict[str, Floats]:
        """Every metric of `METRICS` (R,); fractions, NaN where one has no meaning."""
        iou, pixels = self.iou(), self.truth.sum(axis=1)
        flags = self.classes.seen
        seen = np.array(flags or [False] * len(self.classes))
        unseen = ~seen if flags else seen
        halves = [self.mean(iou, seen), self.mean(iou, unseen)]
        halves_d2_v06 = [self.mean_d2_v06(iou, seen), self.mean_d2_v06(iou, unseen)]
        return {
            "miou": self.mean(iou),
            "miou_d2_v06": self.mean_d2_v06(iou),
            "sg_iou": self.mean_d2_v06(self.iou(self.guided)),
            "miou_seen": halves[0],
            "miou_unseen": halves[1],
            "miou_d2_v06_seen": halves_d2_v06[0],
            "miou_d2_v06_unseen": halves_d2_v06[1],
            "hiou": _harmonic(*halves),
            "hiou_d2_v06": _harmonic(*halves_d2_v06),
            "fwiou": _divided(self.total(iou * self.truth), pixels),
            "macc": self.mean(self.accuracy()),
            "pacc": _divided(self.right.sum(axis=1), pixels),
            "pacc_seen": self.accuracy_among(seen),
            "pacc_unseen": self.accuracy_among(unseen),
        }


def metrics_of(counts: ImageCounts, classes: ClassList) -> dict[str, float | None]:
    """Every metric of some images by its key; fractions, None where it has no meaning."""
    return of_first(ClassSums.of(counts, classes).metrics())


def of_first(values: Mapping[str, Floats]) -> dict[str, float | None]:
    """The value for the first test set of each metric (R,); None where it has no meaning."""
    return {key: None if np.isnan(of[0]) else float(of[0]) for key, of in values.items()}


def per_class(confusion: NDArray[np.int64], classes: ClassList) -> pd.DataFrame:
    """One row for each class.

    IoU, accuracy and SG-IoU are fractions, NaN for a class without ground truth; SG-IoU is the IoU
    where a class has no parent. `mistaken_for` is the class that most of its missed pixels were
    given to.

    Args:
        confusion: (K + 1, K + 1), see `count_pixels`.
        classes: of the benchmark.
    """
    sums = ClassSums.of_confusion(confusion, classes)
    missed = np.array(confusion[:-1, :-1])
    np.fill_diagonal(missed, 0)
    names = np.array([name.strip() for name in classes.names])
    return pd.DataFrame(
        {
            "id": range(len(classes)),
            "name": names,
            "seen": None if classes.seen is None else [str(flag).lower() for flag in classes.seen],
            "iou": sums.iou()[0],
            "accuracy": sums.accuracy()[0],
            "sg_iou": sums.iou(sums.guided)[0],
            "truth_pixels": confusion[:, :-1].sum(axis=0),
            "predicted_pixels": confusion[:-1, :-1].sum(axis=1),
            "mistaken_for": np.where(missed.any(axis=0), names[missed.argmax(axis=0)], ""),
        }
    )


def terms(counts: ImageCounts, classes: ClassList) -> csr_array:
    """(N, 3K + P) float64: what `ClassSums` adds up, of every image."""
    children, parents = _pairs(classes)
    return csr_array(counts @ _selection(len(classes), tuple(children), tuple(parents)))


def _pairs(classes: ClassList) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The children and the parents of all P relations."""
    pairs = [(child, parent) for child, found in classes.parents.items() for parent in found]
    children, parents = np.array(pairs, np.intp).reshape(-1, 2).T
    return children, parents


@cache
def _selection(size: int, children: tuple[int, ...], parents: tuple[int, ...]) -> csr_array:
    """((K + 1)², 3K + P): which cells of a confusion matrix are added up to what."""
    cells = np.arange((size + 1) ** 2).reshape(size + 1, size + 1)[:-1, :-1]
    ids = np.arange(size)
    rows = [cells.diagonal(), cells.ravel(), cells.ravel(), cells[list(parents), list(children)]]
    columns = [ids, size + np.tile(ids, size), 2 * size + np.repeat(ids, size)]
    columns.append(3 * size + np.arange(len(children)))
    row, column = np.concatenate(rows), np.concatenate(columns)
    shape = ((size + 1) ** 2, 3 * size + len(children))
    return csr_array((np.ones(len(row)), (row, column)), shape=shape)


def _harmonic(one: Floats, other: Floats) -> Floats:
    return _divided(2 * one * other, one + other)


def _divided(total: Floats, number: NDArray[np.number[Any]]) -> Floats:
    """Quotients; NaN where the number is 0."""
    result = np.full(total.shape, np.nan)
    np.divide(total, number, out=result, where=number > 0)
    return result
