"""Which pixels are wrong: an evaluation's counts by kind of class, size, place and confusion.

`docs/diagnosis.md` defines every cut. The parts of a cut have all pixels with ground truth between
them, so that what they lose adds up to what is missing to a pixel accuracy of 100 %.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from scan_core.evaluation.counts import ImageCounts
from scan_core.evaluation.intervals import draws, interval, resampled
from scan_core.evaluation.metrics import ClassSums, Floats
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
    parts: list[tuple[str, str, ImageCounts, NDArray[np.bool_] | None]] = []
    if classes.things and len(set(classes.things)) == 2:
        things = np.array(classes.things)
        parts += [("class", "stuff", counts, ~things), ("class", "things", counts, things)]
    parts += [("size", name, one, None) for name, one in _by_size(counts, len(classes)).items()]
    if by_band:
        far = counts - sum(by_band.values(), csr_array(counts.shape))
        parts += [("distance", name, one, None) for name, one in {**by_band, "far": far}.items()]
    totals = _total(ClassSums.of(counts, classes)), _total(resampled(counts, classes))
    found = []
    for cut, name, one, among in parts:
        ways = (ClassSums.of(one, classes), resampled(one, classes))
        values, drawn = (
            _of_part(sums, total, among) for sums, total in zip(ways, totals, strict=True)
        )
        found.append(_record(cut, name, values, drawn))
    return found + _confusions(counts, classes, totals)


def _of_part(sums: ClassSums, total: Floats, among: NDArray[np.bool_] | None) -> dict[str, Floats]:
    every = np.ones(len(sums.classes), bool) if among is None else among
    truth, right = (values[:, every].sum(axis=1) for values in (sums.truth, sums.right))
    return {
        "share": truth / total,
        "lost": (truth - right) / total,
        "pacc": sums.accuracy_among(every),
        "miou": sums.mean(sums.iou(), every),
    }


def _confusions(
    counts: ImageCounts, classes: ClassList, totals: tuple[Floats, Floats]
) -> list[dict[str, Any]]:
    """The wrong pixels by how the predicted class is related to the true one."""
    kinds = relations(classes)
    side = len(classes) + 1
    if len(kinds) < 2:
        return []
    columns = np.zeros((side, side, len(kinds)))
    columns[:-1, :-1] = np.stack([*kinds.values()], axis=-1)
    of_images = counts @ columns.reshape(side * side, -1)
    sums = of_images.sum(axis=0)[None], draws(len(of_images)) @ of_images
    lost = [one / total[:, None] for one, total in zip(sums, totals, strict=True)]
    return [
        _record("confusion", kind, *({"lost": one[:, number]} for one in lost))
        for number, kind in enumerate(kinds)
    ]


def relations(classes: ClassList) -> dict[str, NDArray[np.bool_]]:
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


def _total(sums: ClassSums) -> Floats:
    """(R,): pixels with ground truth; NaN instead of none."""
    pixels = sums.truth.sum(axis=1)
    return np.where(pixels > 0, pixels, np.nan)


def _record(
    cut: str, part: str, values: Mapping[str, Floats], drawn: Mapping[str, Floats]
) -> dict[str, Any]:
    known = {
        name: None if np.isnan(value[0]) else float(value[0]) for name, value in values.items()
    }
    shown = [name for name in known if name != "share"]
    return {
        "cut": cut,
        "part": part,
        "share": known.get("share"),
        "metrics": {name: known[name] for name in shown},
        "intervals": {name: interval(drawn[name]) for name in shown},
    }
