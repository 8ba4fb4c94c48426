"""What a person gets: a class for every pixel, and the masks behind it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from scan_core.inference.views import ImageViews


@dataclass(frozen=True)
class SegmentMask:
    """One proposal at the size of the image.

    Attributes:
        class_id: its best class, an index of the class names.
        class_name: the name.
        score: of that class, 0..1: the combined score of both classifiers.
        mask: (H, W) bool.
    """

    class_id: int
    class_name: str
    score: float
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Segmentation:
    """The result for one image.

    Attributes:
        class_names: K names, as they were given.
        class_map: (H, W) int32, an index of `class_names` for every pixel of the image.
        scores: (Q, K) float32, every proposal's score for every class.
        seen: what the networks saw.
    """

    class_names: tuple[str, ...]
    class_map: NDArray[np.int32]
    scores: Tensor
    seen: ImageViews

    def masks(self, threshold: float = 0.5, minimum_score: float = 0.0) -> Iterator[SegmentMask]:
        """The proposals, best first, each at the size of the image.

        They may overlap, and several may show the same thing; `class_map` is where they are
        weighed against each other. Masks are made one at a time, as they are asked for.

        Args:
            threshold: pixels above this probability belong to a mask; empty ones are left out.
            minimum_score: proposals whose best class scores less are left out.
        """
        best = self.scores.max(dim=1)
        height, width = self.class_map.shape
        at_size = self.seen.masks((height, width))
        for query in best.values.argsort(descending=True).tolist():
            score = float(best.values[query])
            if score < minimum_score:
                return
            probability = F.interpolate(
                at_size[None, query : query + 1],
                (height, width),
                mode="bilinear",
                align_corners=False,
            )[0, 0]
            mask = (probability > threshold).cpu().numpy()
            if mask.any():
                class_id = int(best.indices[query])
                yield SegmentMask(class_id, self.class_names[class_id], score, mask)


def as_array(class_map: Tensor) -> NDArray[np.int32]:
    """A class map on the CPU."""
    return class_map.to("cpu", torch.int32).numpy()
