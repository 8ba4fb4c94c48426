"""The networks' outputs for the images of a benchmark, in memory, so that a trial recombines them.

For each image the masks at stride 4, for every crop threshold and replace ratio one feature of
each proposal, and the label map: about 4 · (h/4 · w/4 · Q + Q · E · (1 + combinations) + h · w)
bytes. An image of the miniature world takes 0.2 MB; one of 640 × 960 pixels with 100 proposals
18 MB.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from scan_core.datasets.loading import BenchmarkImages
from scan_core.datasets.reading_ahead import read_ahead
from scan_core.errors import InputError
from scan_core.evaluation.confusion import as_evaluated, count_pixels, predicted
from scan_core.evaluation.metrics import ClassSums
from scan_core.inference.class_map import class_maps
from scan_core.inference.image_features import ImageFeatures, ImageViews
from scan_core.inference.scan import Scan
from scan_core.params.schema.grids import Search
from scan_core.params.schema.recipe import Recipe
from scan_core.params.search_space import not_searched, settings_of_crops, settings_of_trial
from scan_core.params.settings import TestSettings
from scan_core.storage.files import file_digest, json_digest
from scan_core.vocabulary.classes import ClassList


class BenchmarkFeatures:
    """The outputs for one benchmark's images, and the score of any settings.

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
        self._text = scan.embed(predicted(classes).names, settings[0].prompts)
        self._kept: list[tuple[ImageViews, Tensor]] = []
        self.memory = 0
        count = min(len(images), most_images or len(images))

        ahead = read_ahead(lambda n: (images.image(n), images.label(n)), range(count), 1)
        for image, truth in tqdm(ahead, f"encoding {classes.name}", count, mininterval=10):
            (encoded,) = scan.encode([image], settings)
            self._kept.append((_on(encoded, "cpu", copy=True), torch.from_numpy(truth)))
            self.memory += truth.nbytes + sum(map(_size, self._kept[-1][0].views))
            needed = self.memory / len(self._kept) * count
            if needed > memory:
                raise InputError(
                    f"the {count} images of {classes.name} take about {needed / 1e9:.1f} GB of "
                    f"memory, and {memory / 1e9:.1f} GB are left of --memory-gb; take fewer images "
                    "(`images` of the search), fewer benchmarks, or allow more"
                )

    @torch.inference_mode()
    def score(self, settings: Sequence[TestSettings], metric: str) -> list[float]:
        """A metric of each of the settings; fractions, 0 where it has no meaning."""
        device, size = self._scan.image_encoder.device, len(self._classes)
        counts = torch.zeros(len(settings), size + 1, size + 1, dtype=torch.int64, device=device)
        for kept, truth in self._kept:
            seen, shape = _on(kept, device), (truth.shape[0], truth.shape[1])
            scores = [self._scan.score(seen, self._text, one) for one in settings]
            maps = class_maps(seen.masks(shape), scores, shape)
            for confusion, found in zip(counts, maps, strict=True):
                confusion += count_pixels(as_evaluated(found, self._classes), truth, size)
        sums = (ClassSums.of_confusion(one, self._classes) for one in counts.cpu().numpy())
        return [float(np.nan_to_num(one.metrics()[metric][0])) for one in sums]


def encode_benchmarks(
    scan: Scan,
    search: Search,
    recipe: Recipe,
    benchmarks: Mapping[str, tuple[BenchmarkImages, ClassList]],
    memory: float,
) -> Callable[[Sequence[Mapping[str, Any]]], list[dict[str, float]]]:
    """Encode all images of a search.

    Args:
        scan: the model.
        search: its keys, metric and number of images.
        recipe: whose settings trials differ from in what is searched.
        benchmarks: by name the images, and what they are scored by.
        memory: bytes that may be kept.

    Returns:
        a function from the values of trials to the metric on each benchmark.

    Raises:
        InputError: an unreadable image, or not enough memory.
    """
    encoded: dict[str, BenchmarkFeatures] = {}
    for name, (images, classes) in benchmarks.items():
        settings = settings_of_crops(search, recipe, name)
        encoded[name] = BenchmarkFeatures(scan, images, classes, settings, search.images, memory)
        memory -= encoded[name].memory

    def score(trials: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
        found: list[dict[str, float]] = [{} for _ in trials]
        for name, features in encoded.items():
            settings = [settings_of_trial(recipe, name, values) for values in trials]
            for of_trial, value in zip(found, features.score(settings, search.metric), strict=True):
                of_trial[name] = value
        return found

    return score


def identity(
    search: Search,
    recipe: Recipe,
    benchmarks: Mapping[str, tuple[BenchmarkImages, ClassList]],
    model: Path,
    code: str,
) -> str:
    """A hash of everything that the score of a trial depends on, 12 hexadecimal digits."""
    parts: list[Any] = [search.model_dump(exclude={"trials"}), file_digest(model), code]
    for name, (images, classes) in benchmarks.items():
        scored_by = [classes.names, classes.seen, classes.parents, predicted(classes).names]
        parts += [file_digest(images.index_file), scored_by, not_searched(search, recipe, name)]
    return json_digest(parts)[:12]


def _size(view: ImageFeatures) -> int:
    """Bytes of what a view keeps."""
    kept = (view.mask_logits, view.peaks, view.embeddings, *view.crop_features.values())
    return sum(tensor.nbytes for tensor in kept)


def _on(seen: ImageViews, device: torch.device | str, copy: bool = False) -> ImageViews:
    """The same on a device; as a copy, because a slice would keep all that it is a part of."""
    views = []
    for view in seen.views:
        names = ("mask_logits", "peaks", "embeddings")
        moved: dict[str, Any] = {n: getattr(view, n).to(device, copy=copy) for n in names}
        crops = {k: v.to(device, copy=copy) for k, v in view.crop_features.items()}
        views.append(replace(view, **moved, crop_features=crops))
    return ImageViews(tuple(views))
