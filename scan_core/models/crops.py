"""Masked crops: what CLIP sees of a proposal.

Each crop is resized by itself, from its own box. Batched over all masks (dense or gathered
interpolation) the same work costs several times more on a CPU, because a batch has to work on
the union of the boxes, and saves nothing that counts on a GPU.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from scan_core.models.preprocessing import ClipInput, constant, normalise


@dataclass(frozen=True)
class MaskedCrops:
    """The crops of an image's N valid masks.

    Attributes:
        queries: (N,) int64, which proposals they are, increasing.
        boxes: (N, 4) int64, x0, y0, x1, y1 in pixels of the resized image, exclusive at the end.
        images: (N, 3, S, S) float32, normalised for CLIP.
        masks: (N, S, S) bool, the foreground.
    """

    queries: Tensor
    boxes: Tensor
    images: Tensor
    masks: Tensor


def mask_boxes(masks: Tensor) -> Tensor:
    """Bounding boxes.

    Args:
        masks: (N, H, W) bool, none of them empty.

    Returns:
        (N, 4) int64: x0, y0, x1, y1, exclusive at the end.
    """
    axes = (masks.any(dim=1).int(), masks.any(dim=2).int())  # columns, rows
    first = [axis.argmax(1) for axis in axes]
    end = [axis.shape[1] - axis.flip(1).argmax(1) for axis in axes]
    return torch.stack([*first, *end], dim=1)


def expanded(boxes: Tensor, factor: float, size: tuple[int, int]) -> Tensor:
    """Boxes with surroundings, as OVSeg's option MASK_EXPAND_RATIO makes them.

    Args:
        boxes: (N, 4) int64, see `mask_boxes`.
        factor: of width and height, about the centre; at least 1, which changes nothing.
        size: height and width of the image, at whose borders boxes end.

    Returns:
        (N, 4) int64.
    """
    corner, far = boxes[:, :2], boxes[:, 2:]
    margin = ((far - corner) * ((factor - 1) / 2)).round().long()
    limit = constant((size[1], size[0]), boxes.device)
    return torch.cat(((corner - margin).clamp(min=0), torch.minimum(far + margin, limit)), dim=1)


def masked_crops(
    image: Tensor, masks: Tensor, clip_input: ClipInput, expansion: float = 1.0
) -> MaskedCrops:
    """Cut out every mask that has a pixel.

    Outside of the mask a crop has CLIP's mean colour, which is zero once normalised. The pixels
    are resized with a bicubic filter without antialiasing, the mask by the nearest pixel, both
    without keeping the aspect ratio, as released.

    Args:
        image: (3, H, W) uint8.
        masks: (Q, H, W) bool, the thresholded proposals, on the same device.
        clip_input: how CLIP takes its images: the side S, mean and deviation.
        expansion: of the masks' boxes; 1: tight ones, as released. What surrounds a mask stays
            hidden, but its tokens are background that contextual shift can write to.
    """
    size = clip_input.size
    queries = masks.flatten(1).any(1).nonzero()[:, 0]
    boxes = expanded(mask_boxes(masks[queries]), expansion, (masks.shape[1], masks.shape[2]))
    # The whole image once for many masks; of a single one, only what it covers.
    single = len(queries) == 1
    pixels = image if single else normalise(image, clip_input.mean, clip_input.std)
    crops = torch.empty(len(queries), 3, size, size, device=image.device)
    crop_masks = masks.new_empty(len(queries), size, size)
    for index, (query, box) in enumerate(zip(queries.tolist(), boxes.tolist(), strict=True)):
        x0, y0, x1, y1 = box
        mask = masks[query, y0:y1, x0:x1]
        box_pixels = pixels[:, y0:y1, x0:x1]
        if single:
            box_pixels = normalise(box_pixels, clip_input.mean, clip_input.std)
        crops[index] = F.interpolate((box_pixels * mask)[None], (size, size), mode="bicubic")[0]
        nearest = F.interpolate(mask[None, None].to(torch.uint8), (size, size), mode="nearest")
        crop_masks[index] = nearest[0, 0]
    return MaskedCrops(queries, boxes, crops, crop_masks)
