"""Images at the size at which the networks see them; it needs no PyTorch."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resized_shape(height: int, width: int, short_side: int, longest_side: int) -> tuple[int, int]:
    """Height and width after resizing by the rule of the field (detectron2's).

    Args:
        height: pixels.
        width: pixels.
        short_side: the shorter side's length after resizing, pixels,
        longest_side: unless the longer one would exceed this, pixels.
    """
    scale = short_side / min(height, width)
    new_height, new_width = height * scale, width * scale
    if height <= width:
        new_height = short_side
    else:
        new_width = short_side
    if max(new_height, new_width) > longest_side:
        shrink = longest_side / max(new_height, new_width)
        new_height, new_width = new_height * shrink, new_width * shrink
    return max(1, int(new_height + 0.5)), max(1, int(new_width + 0.5))


def resized(image: NDArray[np.uint8], short_side: int, longest_side: int) -> NDArray[np.uint8]:
    """Resize for the networks, with Pillow's bilinear filter.

    Args:
        image: (H, W, 3) uint8, RGB.
        short_side: see `resized_shape`.
        longest_side: see `resized_shape`.

    Returns:
        (3, H', W') uint8.
    """
    height, width = resized_shape(image.shape[0], image.shape[1], short_side, longest_side)
    if (height, width) != image.shape[:2]:
        at_size = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        image = np.asarray(at_size)
    return np.ascontiguousarray(image.transpose(2, 0, 1))
