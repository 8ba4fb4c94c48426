"""Where the points are lost: one part of the model at a time is replaced by the truth.

`docs/diagnosis.md` defines every rung of the ladder (`scan_core.evaluation.ladder`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional as F

from scan_core.datasets.loading import BenchmarkImages
from scan_core.datasets.reading_ahead import read_ahead
from scan_core.evaluation.calibration import pixel_histogram, proposal_histogram
from scan_core.evaluation.confusion import as_evaluated, cells_and_pixels, predicted
from scan_core.evaluation.counts import ImageCounts, image_counts, joined
from scan_core.evaluation.evaluator import CHUNK, CountStore
from scan_core.inference.class_map import class_maps
from scan_core.inference.image_features import CropSetting, ImageViews
from scan_core.inference.scan import Scan
from scan_core.params.classifiers import classifier_settings
from scan_core.params.command_line import Interrupted, stop_signals
from scan_core.params.settings import TestSettings
from scan_core.vocabulary.classes import ClassList

# What the temperature and the weight are calibrated over; the former as multiples of CLIP's own.
_SCALES = (0.25, 0.5, 1.0, 2.0)
_WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_REGION = 0.5  # pixels of a proposal above this probability are its region
NONE = -1


class Matches(NamedTuple):
    """What the proposals and the true segments of an image have in common.

    Attributes:
        right: (Q,) the class that most of a proposal's region belongs to; `NONE` if it has no
            pixel with ground truth.
        overlap: (Q,) IoU of a proposal's region with the segment of that class; 0 for `NONE`.
        best: (N,) for each segment the proposal whose region has the largest IoU with it.
    """

    right: Tensor
    overlap: Tensor
    best: Tensor


def match(masks: Tensor, segments: Tensor, present: Tensor) -> Matches:
    """Compare proposals with the true segments, the pixels of one class each.

    Args:
        masks: (Q, H, W), probabilities.
        segments: (N, H, W) bool; other pixels have no ground truth.
        present: (N,) their classes; at least one.
    """
    labelled = segments.any(dim=0)
    regions = (masks[:, labelled] > _REGION).float()
    truth = segments[:, labelled].float()
    shared = regions @ truth.T
    areas = regions.sum(dim=1)
    iou = shared / (areas[:, None] + truth.sum(dim=1) - shared).clamp(min=1)
    most = shared.argmax(dim=1)
    right = present[most].where(areas > 0, NONE)
    return Matches(right, iou.gather(1, most[:, None])[:, 0], iou.argmax(dim=0))


def better_scores(scores: Mapping[str, Tensor], right: Tensor, owners: Tensor) -> Tensor:
    """Each proposal's scores by the classifier that puts its right class furthest ahead.

    The combination is one of the choices, so that a proposal that is right stays right, and wins
    where all are equal. The sum of a proposal's scores, its weight against others, stays.

    Args:
        scores: by classifier (Q, K'), `combined` among them.
        right: (Q,) classes; a proposal with `NONE` keeps its combined scores.
        owners: (K',) the class that each of the names is counted as.
    """
    combined = scores["combined"]
    choices = [combined, *(one for name, one in scores.items() if name != "combined")]
    weight = combined.sum(dim=1, keepdim=True)
    shares = torch.stack([F.normalize(one, p=1, dim=1) for one in choices])
    is_right = owners == right[:, None]
    ahead = shares.masked_fill(~is_right, 0).amax(2) - shares.masked_fill(is_right, 0).amax(2)
    chosen = shares[ahead.argmax(dim=0), torch.arange(len(right))]
    return torch.where((right == NONE)[:, None], combined, weight * chosen)


def right_scores(scores: Tensor, right: Tensor) -> Tensor:
    """Each proposal's whole weight given to its right class; none where it has `NONE`."""
    known = (right != NONE).to(scores)
    whole = F.one_hot(right.clamp(min=0).long(), scores.shape[1])
    return whole * (known * scores.sum(dim=1))[:, None]


def among(scores: Tensor, present: Tensor, owners: Tensor) -> Tensor:
    """The scores, with -1 for names of classes that the image does not have."""
    return scores.masked_fill(~torch.isin(owners, present), -1)


def diagnose_in_parts(
    scan: Scan,
    images: BenchmarkImages,
    classes: ClassList,
    wanted: int,
    store: CountStore,
    workers: int = 1,
    count: Callable[..., dict[str, ImageCounts]] | None = None,
) -> dict[str, ImageCounts]:
    """`diagnose` images, spread evenly over the split; those that the store has are not repeated.

    Args:
        scan: the model, which is tested with its own settings.
        images: the benchmark's.
        classes: what it is scored by.
        wanted: the number of images; 0: all.
        store: of their counts.
        workers: threads that read images ahead.
        count: another function than `diagnose`, with the same arguments.

    Raises:
        Interrupted: a signal to stop came; the same call goes on after the last part.
    """
    chosen = np.linspace(0, len(images), min(wanted or len(images), len(images)), endpoint=False)
    numbers, parts = chosen.astype(int).tolist(), []
    with stop_signals() as signals:
        for first in range(0, len(numbers), CHUNK):
            part = range(first, min(first + CHUNK, len(numbers)))
            found = store.load(part)
            if not found:
                of_part = numbers[part.start : part.stop]
                found = (count or diagnose)(scan, images, classes, scan.settings, of_part, workers)
                store.save(part, found)
            parts.append(found)
            if signals:
                raise Interrupted(signals[0])
    return joined(parts)


@torch.inference_mode()
def diagnose(
    scan: Scan,
    images: BenchmarkImages,
    classes: ClassList,
    settings: TestSettings,
    numbers: Sequence[int],
    workers: int = 1,
) -> dict[str, ImageCounts]:
    """Count the pixels of images with parts of the model replaced by the truth, in one pass.

    CLIP is asked about the true segments in addition to the proposals, nothing is computed twice.

    Args:
        scan: the model.
        images: the benchmark's.
        classes: what it is scored by.
        settings: of the model as it is.
        numbers: which of the images; those without ground truth count nothing.
        workers: threads that read images ahead.

    Returns:
        counts by rung (`LADDER` and `TRUE_MASKS`), and by `calibration.<classifier>` the
        histograms of `calibration.histogram`; a row for each image.
    """
    ways = classifier_settings(settings)
    tally = _Tally(scan, classes, settings)
    owners = tally.owners
    for image, truth, views, masks, scores in tally.views(images, numbers, ways, workers):
        present = truth[truth >= 0].unique().long()
        # Without ground truth any class will do: nothing is counted.
        present = present if len(present) else present.new_zeros(1)
        shown = F.interpolate(truth[None, None].float(), masks.shape[1:], mode="nearest")[0]
        found = match(masks, shown == present[:, None, None], present)
        better = better_scores(scores, found.right, owners)
        sets = {
            **scores,
            "better_classifier": better,
            "present_classes": among(better, present, owners),
            "right_classes": right_scores(scores["combined"], found.right),
        }
        maps = _maps(masks, sets, truth)
        for name, one in scores.items():
            proposals = proposal_histogram(one, found.right, found.overlap, owners, tally.seen)
            pixels = pixel_histogram(masks, one, maps[name], truth, owners, tally.seen)
            tally.bin(name, [proposals, pixels])
        now, before = _with_segments(scan, image, views, truth, present, found.best, settings)
        asked = {name: (now, way) for name, way in ways.items()}
        asked["original_clip"] = before, ways["clip_only"]
        for name, (of_segments, way) in asked.items():
            chosen = scan.score(of_segments, tally.text, way).argmax(dim=1)
            maps[f"true_masks.{name}"] = chosen[torch.searchsorted(present, truth.clamp(min=0))]
        maps["as_it_is"] = maps["combined"]
        for rung in [name for name in maps if name not in ways]:
            tally.count(rung, maps[rung], truth)
    return tally.counts()


def candidates(scan: Scan, settings: TestSettings) -> dict[str, TestSettings]:
    """The settings with other temperatures and weights, by their key; those as they are first."""
    learned = scan.logit_scale(replace(settings, logit_scale="learned"))
    others = [
        replace(settings, logit_scale=round(factor * learned, 3), clip_weight=weight)
        for factor in _SCALES
        for weight in _WEIGHTS
    ]
    return {one.key: one for one in [settings, *others]}


@torch.inference_mode()
def calibrate(
    scan: Scan,
    images: BenchmarkImages,
    classes: ClassList,
    settings: TestSettings,
    numbers: Sequence[int],
    workers: int = 1,
) -> dict[str, ImageCounts]:
    """Count the pixels and their confidences under all `candidates`; arguments as of `diagnose`.

    Returns:
        by the settings' key the counts, and by `calibration.<key>` the histograms of the pixels.
    """
    ways = candidates(scan, settings)
    tally = _Tally(scan, classes, settings)
    for _, truth, _, masks, scores in tally.views(images, numbers, ways, workers):
        for key, found in _maps(masks, scores, truth).items():
            pixels = pixel_histogram(masks, scores[key], found, truth, tally.owners, tally.seen)
            tally.bin(key, [0 * pixels, pixels])
            tally.count(key, found, truth)
    return tally.counts()


class _Tally:
    """Counts of pixels by label, and histograms by the classifier, over the images of a pass.

    Attributes:
        text: of the names that are predicted.
        owners: (K',) the class that each of them is counted as.
        seen: (K,) bool.
    """

    def __init__(self, scan: Scan, classes: ClassList, settings: TestSettings) -> None:
        names = predicted(classes).names
        self.text = scan.embed(names, settings.prompts)
        device = self.text.device
        self.owners = as_evaluated(torch.arange(len(names), device=device), classes)
        self.seen = torch.tensor(classes.seen or [True] * len(classes), device=device)
        self._scan, self._classes = scan, classes
        self._rows = defaultdict[str, list[Any]](list)
        self._binned = defaultdict[str, list[NDArray[np.int64]]](list)

    def views(
        self,
        images: BenchmarkImages,
        numbers: Sequence[int],
        ways: Mapping[str, TestSettings],
        workers: int,
    ) -> Iterator[tuple[NDArray[np.uint8], Tensor, ImageViews, Tensor, dict[str, Tensor]]]:
        """Each image, its truth, what the networks say of it, the masks, the scores each way."""
        read = read_ahead(lambda n: (images.image(n), images.label(n)), numbers, workers)
        for image, label in read:
            (views,) = self._scan.encode([image], list(ways.values()))
            truth = torch.from_numpy(label).to(self.text.device)
            scores = {name: self._scan.score(views, self.text, one) for name, one in ways.items()}
            yield image, truth, views, views.masks((label.shape[0], label.shape[1])), scores

    def count(self, label: str, class_map: Tensor, truth: Tensor) -> None:
        """Add an image's map (H, W) of the names that are predicted."""
        found = as_evaluated(class_map, self._classes)
        self._rows[label].append(cells_and_pixels(found, truth, len(self._classes)))

    def bin(self, label: str, histograms: Sequence[NDArray[np.int64]]) -> None:
        """Add an image's histograms of proposals and of pixels."""
        self._binned[label].append(np.stack(histograms).ravel())

    def counts(self) -> dict[str, ImageCounts]:
        """By label, and by `calibration.<label>` the histograms; a row for each image."""
        counted = {k: image_counts(rows, len(self._classes)) for k, rows in self._rows.items()}
        binned = {f"calibration.{k}": csr_array(np.stack(of)) for k, of in self._binned.items()}
        return counted | binned


def _maps(masks: Tensor, sets: Mapping[str, Tensor], truth: Tensor) -> dict[str, Tensor]:
    """The class map of each set of scores, at the size of the truth."""
    maps = class_maps(masks, list(sets.values()), (truth.shape[0], truth.shape[1]))
    return dict(zip(sets, maps, strict=True))


def _with_segments(
    scan: Scan,
    image: NDArray[np.uint8],
    views: ImageViews,
    truth: Tensor,
    present: Tensor,
    best: Tensor,
    settings: TestSettings,
) -> list[ImageViews]:
    """What the networks say about the true segments of the classes that are present.

    Returns:
        with CLIP as it is, and as it was before fine-tuning.
    """
    resized = scan.resize(image, settings, settings.scales[0])
    shown = F.interpolate(truth[None, None].float(), resized.shape[1:], mode="nearest")[0]
    segments = shown == present[:, None, None]
    embeddings = torch.cat([view.embeddings for view in views.views])[best]
    shown_to_clip = (views.first, resized, segments, embeddings, CropSetting.of(settings))
    encoders = (scan.image_encoder, scan.original_image_encoder)
    return [ImageViews((encoder.with_segments(*shown_to_clip),)) for encoder in encoders]
