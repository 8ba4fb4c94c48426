"""Which pixels are wrong: an evaluation's counts by kind of class, size, place and confusion.

`docs/diagnosis.md` defines every cut. The parts of a cut have all pixels with ground truth between
them, so that what they lose adds up to what is missing to a pixel accuracy of 100 %.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from scan_core.evaluation.counts import ImageCounts
from scan_core.evaluation.intervals import Estimate, draws, resampled
from scan_core.evaluation.metrics import ClassSums, Flags, Floats
from scan_core.vocabulary.classes import ClassList

# Part -> from which share of the image's pixels on a segment belongs to it: COCO's limits of 32²
# and 96² pixels in an image of 640 x 480.
_SIZES = {"small": 0.0, "medium": 32**2 / 307_200, "large": 96**2 / 307_200}


def cuts(
    counts: ImageCounts, by_band: Mapping[str, ImageCounts], classes: ClassList
) -> list[dict[str, Any]]:
    """The parts of each cut.

    Args:
        counts: of the images.
        by_band: of their pixels in each of `BANDS`; empty: there is no cut by distance.
        classes: what they are scored by.

    Returns:
        for each its `cut`, `part`, `share` of the pixels with ground truth, `metrics` and their
        `intervals`: `lost`, the share of all pixels that is wrong in this part, its `pacc`, and its
        `miou`; None without a meaning.
    """
    everything = np.ones(len(classes), bool)
    parts: list[tuple[str, str, ImageCounts, Flags]] = []
    if classes.things and len(set(classes.things)) == 2:
        things = np.array(classes.things)
        parts += [("class", "stuff", counts, ~things), ("class", "things", counts, things)]
    split = {"size": _by_size(counts, len(classes))}
    if by_band:
        far = counts - sum(by_band.values(), csr_array(counts.shape))
        split["distance"] = {**by_band, "far": far}
    parts += [(cut, name, of[name], everything) for cut, of in split.items() for name in of]
    pixels = resampled(counts, classes).truth.sum(axis=1)
    total = np.where(pixels > 0, pixels, np.nan)
    found = [
        _record(cut, name, _of_part(resampled(one, classes), total, among))
        for cut, name, one, among in parts
    ]
    return found + _confusions(counts, classes, total)


def _of_part(sums: ClassSums, total: Floats, among: Flags) -> dict[str, Floats]:
    truth, right = (values[:, among].sum(axis=1) for values in (sums.truth, sums.right))
    return {
        "share": truth / total,
        "lost": (truth - right) / total,
        "pacc": sums.accuracy_among(among),
        "miou": sums.mean(sums.iou(), among),
    }


def _confusions(counts: ImageCounts, classes: ClassList, total: Floats) -> list[dict[str, Any]]:
    """The wrong pixels by how the predicted class is related to the true one."""
    kinds = relations(classes)
    side = len(classes) + 1
    if len(kinds) < 2:
        return []
    columns = np.zeros((side, side, len(kinds)))
    columns[:-1, :-1] = np.stack([*kinds.values()], axis=-1)
    sums = draws(counts.shape[0]) @ (counts @ columns.reshape(side * side, -1))
    return [
        _record("confusion", kind, {"lost": wrong / total})
        for kind, wrong in zip(kinds, sums.T, strict=True)
    ]


def relations(classes: ClassList) -> dict[str, Flags]:
    """(K, K) for each kind of confusion that there can be: row = prediction, column = truth."""
    above = np.zeros((len(classes),) * 2, bool)
    for child, parents in classes.parents.items():
        above[list(parents), child] = True
    kinds = {"synonym": above & above.T, "parent": above & ~above.T, "child": above.T & ~above}
    seen = np.array(classes.seen or [True] * len(classes))
    kinds["unseen_as_seen"] = np.logical_and.outer(seen, ~seen)
    kinds["seen_as_unseen"] = kinds["unseen_as_seen"].T
    kinds["other"] = np.ones_like(above)
    taken = np.eye(len(classes), dtype=bool)
    for kind, pairs in kinds.items():
        kinds[kind] = pairs & ~taken
        taken |= pairs
    return {kind: pairs for kind, pairs in kinds.items() if pairs.any()}


def _by_size(counts: ImageCounts, classes: int) -> dict[str, ImageCounts]:
    """The counts of the true segments, the pixels of one class in an image, by their size."""
    sparse = counts.tocoo()
    image, cell = (axis.astype(np.int64) for axis in sparse.coords)
    segment = image * (classes + 1) + cell % (classes + 1)
    share = np.bincount(segment, sparse.data)[segment] / np.bincount(image, sparse.data)[image]
    part = np.digitize(share, [*_SIZES.values()]) - 1
    return {
        name: csr_array(
            (sparse.data[part == n], (image[part == n], cell[part == n])), shape=counts.shape
        )
        for n, name in enumerate(_SIZES)
    }


def _record(cut: str, part: str, values: dict[str, Floats]) -> dict[str, Any]:
    found = Estimate.of(values)
    bounds, share = found.intervals(), found.metrics.pop("share", None)
    bounds.pop("share", None)
    return {
        **{"cut": cut, "part": part, "share": share},
        **{"metrics": found.metrics, "intervals": bounds},
    }
