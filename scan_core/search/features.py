"""What the networks say about the images of a benchmark, kept, so that a trial only recombines it.

For each image the masks at stride 4, for every crop threshold and replace ratio one feature of
each proposal, and the label map: about 4 · (h/4 · w/4 · Q + Q · E · (1 + combinations) + h · w)
bytes. An image of the miniature world takes 0.2 MB; one of 640 × 960 pixels with 100 proposals
18 MB.
"""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from scan_core.command.stopping import Interrupted
from scan_core.datasets.loading import BenchmarkImages
from scan_core.datasets.reading_ahead import read_ahead
from scan_core.errors import InputError
from scan_core.evaluation.confusion import ConfusionMatrix, as_evaluated
from scan_core.evaluation.merging import numbers_of
from scan_core.inference.class_map import class_maps
from scan_core.inference.scan import Scan
from scan_core.inference.views import ImageViews, View
from scan_core.params.settings import TestSettings
from scan_core.search.kept_features import KeptFeatures
from scan_core.vocabulary.classes import ClassList, load_class_list

_log = logging.getLogger(__name__)


class BenchmarkFeatures:
    """The image encoder's features of one benchmark's images, and the score of any settings.

    Args:
        scan: the model.
        images: the split to choose settings on.
        classes: what it is scored by.
        settings: that need all crops which `score` may be asked for.
        most_images: the first so many; None: all.
        memory: bytes that may be kept.
        kept: where features and counts are kept for the next start; None: nowhere.
        signals: gets the number of a signal to stop; see `stop_signals`.

    Attributes:
        memory: bytes that are kept.

    Raises:
        InputError: an unreadable image, or there is not enough memory for all.
        Interrupted: a signal to stop came; what is kept is not made again.
    """

    def __init__(
        self,
        scan: Scan,
        images: BenchmarkImages,
        classes: ClassList,
        settings: Sequence[TestSettings],
        most_images: int | None,
        memory: float,
        kept: KeptFeatures | None = None,
        signals: Sequence[int] = (),
    ) -> None:
        self._scan, self._classes = scan, classes
        self._on_disk, self._signals = kept, signals
        self._text = scan.embed(predicted_names(classes), settings[0].prompts)
        self._kept: list[tuple[ImageViews, Tensor]] = []
        self.memory = 0
        count = min(len(images), most_images or len(images))
        found = 0

        def read(number: int) -> tuple[ImageViews | None, NDArray[np.uint8] | None, Tensor]:
            seen = kept.load(number) if kept else None
            image = images.image(number) if seen is None else None
            return seen, image, torch.from_numpy(images.label(number))

        ahead = tqdm(
            read_ahead(read, range(count), 1), f"encoding {classes.name}", count, mininterval=10
        )
        for number, (loaded, image, truth) in enumerate(ahead):
            if loaded is None:
                assert image is not None
                (encoded,) = scan.encode([image], settings)
                seen = _on(encoded, "cpu")
                if kept:
                    kept.save(number, seen)
            else:
                seen = loaded
                found += 1
            self._kept.append((seen, truth))
            self.memory += sum(tensor.nbytes for tensor in (*_tensors(seen), truth))
            if self.memory / (number + 1) * count > memory:
                needed = self.memory / (number + 1) * count / 1e9
                raise InputError(
                    f"the {count} images of {classes.name} take about {needed:.1f} GB of memory, "
                    f"and {memory / 1e9:.1f} GB are left of --memory-gb; take fewer images "
                    "(`images` of the search), fewer benchmarks, or allow more"
                )
            self._stop_if_asked()
        if found:
            _log.info("%s: %d of %d images were encoded before", classes.name, found, count)

    @torch.inference_mode()
    def score(self, settings: Sequence[TestSettings], metric: str) -> list[float]:
        """A metric of each of the settings; fractions, 0 where it has no meaning.

        Raises:
            Interrupted: a signal to stop came; the next start goes on with the next image.
        """
        scan, device = self._scan, self._scan.image_encoder.device
        different = {one.key: one for one in settings}
        matrices = {key: ConfusionMatrix(len(self._classes), device) for key in different}
        counting = self._on_disk.counting() if self._on_disk else None
        if counting:
            counting.restore(matrices, [])
        first = counting.done if counting else 0
        images = tqdm(
            self._kept[first:], f"scoring {len(different)} settings on {self._classes.name}",
            len(self._kept), initial=first, mininterval=10, delay=10,
        )  # fmt: skip
        for number, (kept, truth) in enumerate(images, first):
            seen = _on(kept, device)
            scores = [scan.score(seen, self._text, one) for one in different.values()]
            size = (truth.shape[0], truth.shape[1])
            for matrix, found in zip(
                matrices.values(), class_maps(seen.masks(size), scores, size), strict=True
            ):
                matrix.add(as_evaluated(found, self._classes), truth.to(device))
            done = number + 1
            if counting and (self._signals or counting.is_due() or done == len(self._kept)):
                counting.save(done, 0.0, matrices, {})
            self._stop_if_asked()
        values = {
            key: numbers_of(matrix.counts(), self._classes)[metric] or 0.0
            for key, matrix in matrices.items()
        }
        return [values[one.key] for one in settings]

    def finish(self) -> None:
        """Remove the counts: the scores are kept elsewhere."""
        if self._on_disk:
            self._on_disk.counting().remove()

    def _stop_if_asked(self) -> None:
        if self._signals:
            _log.info("signal %d: stopped; run again to continue", self._signals[0])
            raise Interrupted(self._signals[0])


def predicted_names(classes: ClassList) -> tuple[str, ...]:
    """The names that are given to the network for a benchmark scored by these classes."""
    other = classes.predict_with
    return classes.names if other is None else load_class_list(other).names


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
