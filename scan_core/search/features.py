"""What the networks say about the images of a benchmark, kept, so that a trial only recombines it.

For each image the masks at stride 4, for every crop threshold and replace ratio one feature of
each proposal, and the label map: about 4 · (h/4 · w/4 · Q + Q · E · (1 + combinations) + h · w)
bytes. An image of the miniature world takes 0.2 MB; one of 640 × 960 pixels with 100 proposals
18 MB.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.evaluation.confusion import ConfusionMatrix, as_evaluated
from scan_core.evaluation.merging import numbers_of
from scan_core.inference.class_map import class_maps
from scan_core.inference.scan import Scan
from scan_core.inference.views import ImageViews, View
from scan_core.params.settings import TestSettings
from scan_core.vocabulary.classes import ClassList, load_class_list


class BenchmarkFeatures:
    """The image encoder's features of one benchmark's images, and the score of any settings.

    Args:
        scan: the model.
        images: the split to choose settings on.
        classes: what it is scored by.
        settings: that need all crops which `score` may be asked for.
        most_images: the first so many; None: all.
        memory: bytes that may be kept.

    Attributes:
        memory: bytes that are kept.

    Raises:
        InputError: an unreadable image, or there is not enough memory for all.
    """

    def __init__(
        self,
        scan: Scan,
        images: BenchmarkImages,
        classes: ClassList,
        settings: Sequence[TestSettings],
        most_images: int | None,
        memory: float,
    ) -> None:
        self._scan, self._classes = scan, classes
        predicted = (
            classes if classes.predict_with is None else load_class_list(classes.predict_with)
        )
        self._text = scan.embed(predicted.names, settings[0].prompts)
        self._kept: list[tuple[ImageViews, Tensor]] = []
        self.memory = 0
        count = min(len(images), most_images or len(images))
        for number in tqdm(range(count), desc=f"encoding {classes.name}", mininterval=10):
            (seen,) = scan.encode([images.image(number)], settings)
            truth = torch.from_numpy(images.label(number))
            self._kept.append((_on(seen, "cpu"), truth))
            self.memory += sum(tensor.nbytes for tensor in (*_tensors(seen), truth))
            if self.memory / (number + 1) * count > memory:
                needed = self.memory / (number + 1) * count / 1e9
                raise InputError(
                    f"the {count} images of {classes.name} take about {needed:.1f} GB of memory, "
                    f"and {memory / 1e9:.1f} GB are left of --memory-gb; take fewer images "
                    "(`images` of the search), fewer benchmarks, or allow more"
                )

    @torch.inference_mode()
    def score(self, settings: Sequence[TestSettings], metric: str) -> list[float]:
        """A metric of each of the settings; fractions, 0 where it has no meaning."""
        scan, device = self._scan, self._scan.image_encoder.device
        matrices = [ConfusionMatrix(len(self._classes), device) for _ in settings]
        for kept, truth in self._kept:
            seen = _on(kept, device)
            scores = [scan.score(seen, self._text, one) for one in settings]
            size = (truth.shape[0], truth.shape[1])
            for matrix, found in zip(
                matrices, class_maps(seen.masks(size), scores, size), strict=True
            ):
                matrix.add(as_evaluated(found, self._classes), truth.to(device))
        return [numbers_of(matrix.counts(), self._classes)[metric] or 0.0 for matrix in matrices]


def _tensors(seen: ImageViews) -> list[Tensor]:
    found = []
    for view in seen.views:
        one = view.image_features
        found += [one.mask_logits, one.peaks, one.embeddings, *one.crop_features.values()]
    return found


def _on(seen: ImageViews, device: torch.device | str) -> ImageViews:
    """The same on a device, in memory of its own: a view would keep what it is a part of."""

    def moved(tensor: Tensor) -> Tensor:
        there = tensor.to(device)
        return there.clone() if there._base is not None else there

    views = []
    for view in seen.views:
        one = view.image_features
        changes: dict[str, Any] = {
            name: moved(getattr(one, name)) for name in ("mask_logits", "peaks", "embeddings")
        }
        features = {key: moved(tensor) for key, tensor in one.crop_features.items()}
        there = dataclasses.replace(one, **changes, crop_features=features)
        views.append(View(there, view.mirrored))
    return ImageViews(tuple(views))
