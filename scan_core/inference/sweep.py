"""Many settings on one image for little more than the price of one.

The networks run once. CLIP runs once for every pair of crop threshold and replace ratio, so a
grid over ensemble weights, kinds of ensemble and, with a crop threshold of its own, mask
thresholds reuses its features. Masks are resized once for all settings.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from scan_core.inference.class_map import class_maps
from scan_core.inference.ensemble import InferenceSettings
from scan_core.inference.images import ImageLike, read_image
from scan_core.inference.scan import Scan


@torch.inference_mode()
def sweep_image(
    scan: Scan, image: ImageLike, text: Tensor, settings: Sequence[InferenceSettings]
) -> list[Tensor]:
    """Class maps of one image under several settings.

    Args:
        scan: the model.
        image: see `Scan.segment`.
        text: from `Scan.embed`.
        settings: the grid.

    Returns:
        for each of the settings a class map (H, W) int32 at the image's own size, on the
        model's device: what `Scan.segment` would give.
    """
    array = read_image(image)
    (evidence,) = scan.observe([array], settings)
    scores = [scan.score(evidence, text, setting) for setting in settings]
    return class_maps(evidence.masks(), scores, (array.shape[0], array.shape[1]))
