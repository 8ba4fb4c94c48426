"""One's own images in one's own classes: synonyms, background, and how sure each class is."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scan_core.apps.own_classes import OwnClasses
from scan_core.inference.class_map import class_maps, pixel_scores
from scan_core.inference.scan import Scan
from scan_core.inference.segmentation import as_array
from scan_core.inference.views import ImageViews
from scan_core.params.settings import TestSettings


@dataclass(frozen=True)
class OwnSegmentation:
    """An image in one's own classes.

    Attributes:
        classes: as they were given.
        class_map: (H, W) int32, an index of `classes.names` for every pixel.
        certainty: (H, W) float32, 0..1: the score of each pixel's class.
    """

    classes: OwnClasses
    class_map: NDArray[np.int32]
    certainty: NDArray[np.float32]

    def scores(self) -> dict[int, float]:
        """For each class that is there the mean certainty of its pixels, 0..1."""
        ids, position = np.unique(self.class_map, return_inverse=True)
        position = position.reshape(-1)
        sums = np.bincount(position, weights=self.certainty.reshape(-1))
        means = sums / np.bincount(position)
        return {int(class_id): float(mean) for class_id, mean in zip(ids, means, strict=True)}


@torch.inference_mode()
def classify(
    scan: Scan,
    seen: ImageViews,
    text: Tensor,
    classes: OwnClasses,
    settings: TestSettings,
    size: tuple[int, int],
    minimum_score: float = 0.0,
) -> OwnSegmentation:
    """Give every pixel a class, from what the networks have seen.

    Args:
        scan: the model.
        seen: from `Scan.encode`, with the crops that `settings` needs.
        text: `scan.embed(classes.words)`.
        classes: what to look for.
        settings: how the classifiers are combined.
        size: height and width of the result.
        minimum_score: pixels whose class scores less belong to the background, if there is one.
    """
    scores = scan.score(seen, text, settings, classes.owners)
    masks = seen.masks(size)
    (class_map,) = class_maps(masks, [scores], size)
    certainty = pixel_scores(masks, scores, class_map).clamp(max=1)
    if classes.background_id is not None:
        class_map[certainty < minimum_score] = classes.background_id
    return OwnSegmentation(classes, as_array(class_map), certainty.float().cpu().numpy())
