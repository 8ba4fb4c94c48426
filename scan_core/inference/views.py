"""An image in several views, for test-time augmentation: other scales, and its mirror image."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from scan_core.inference.image_features import ImageFeatures


@dataclass(frozen=True)
class View:
    """What the networks say about one view of an image, and whether it is mirrored."""

    image_features: ImageFeatures
    mirrored: bool


@dataclass(frozen=True)
class ImageViews:
    """What the networks say about an image in each of its views, at least one.

    With several views every proposal of every view counts: the class scores of a pixel are the
    mean over the views, up to a factor.
    """

    views: tuple[View, ...]

    @property
    def first(self) -> ImageFeatures:
        """Of the first view."""
        return self.views[0].image_features

    def masks(self, size: tuple[int, int]) -> Tensor:
        """(Q, H, W) float32, probabilities of the proposals of all views.

        Args:
            size: height and width of the image; of a single view the masks are given at the
                size at which the networks saw it, and are resized later, in parts.
        """
        if len(self.views) == 1:
            return self.first.masks()
        found = []
        for view in self.views:
            masks = view.image_features.masks()
            masks = (masks.flip(2) if view.mirrored else masks)[None]
            resized = F.interpolate(masks, size, mode="bilinear", align_corners=False)
            found.append(resized[0])
        return torch.cat(found)
