"""Label maps as people read them: coloured over the image, with names, mistakes hatched."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt, maximum_position
from scipy.ndimage import label as connected_regions

from scan_core.vocabulary.classes import ClassList

_OPACITY = 0.8
_OPACITY_UNCOUNTED = 0.2  # where there is no ground truth, so that a prediction does not count
_EDGE = (40, 40, 40)
# Distance from the border of a region to its middle, pixels, from which on it gets a name: the
# widest region of its class, and a further one.
_SMALLEST_DEPTH, _WIDE = 6, 16
_HATCH = 9  # pixels between the lines over what is wrong
_SMALLEST_SHARE = 0.005  # regions below this share of the image are neither chosen nor named


def large_classes(label: NDArray[np.int32]) -> list[int]:
    """Classes of a map that are large enough to be seen, the largest first.

    Args:
        label: (H, W) training ids, −1 for none.
    """
    ids, counts = np.unique(label[label >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [int(ids[i]) for i in order if counts[i] >= _SMALLEST_SHARE * label.size]


def short_name(classes: ClassList, class_id: int) -> str:
    """The first of a list of synonyms, as a picture has room for.

    Args:
        classes: of the benchmark.
        class_id: training id.
    """
    return classes.names[class_id].split(",")[0].strip()


def draw_label_map(
    photo: Image.Image,
    values: NDArray[np.int32],
    truth: NDArray[np.int32],
    classes: ClassList,
    colors: NDArray[np.uint8],
) -> Image.Image:
    """Draw a label map over an image, its regions named, what is wrong in it hatched.

    Args:
        photo: in the size of the result.
        values: (H, W) training ids, −1 for none.
        truth: (H, W) likewise; where it has none, the map is pale.
        classes: of the benchmark.
        colors: (K, 3) RGB.
    """

    def scaled(array: NDArray[np.int32]) -> NDArray[np.int32]:
        picture = Image.fromarray(array).resize(photo.size, Image.Resampling.NEAREST)
        return np.asarray(picture)

    labels, target = scaled(values), scaled(truth)
    counted = target >= 0
    opacity = np.where(counted, _OPACITY, _OPACITY_UNCOUNTED)[..., None]
    # Over grey, so that a colour looks as it does in the legend.
    grey = 0.4 * np.asarray(photo.convert("L"), dtype=np.float64)[..., None] + 140
    color = np.where(labels[..., None] >= 0, colors[labels], grey)
    pixels = (1 - opacity) * grey + opacity * color
    edges = np.zeros(labels.shape, dtype=bool)
    edges[1:] |= labels[1:] != labels[:-1]
    edges[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    diagonals = np.add.outer(np.arange(labels.shape[0]), np.arange(labels.shape[1])) % _HATCH == 0
    pixels[edges | (diagonals & counted & (labels != target))] = _EDGE
    picture = Image.fromarray(pixels.astype(np.uint8))
    names = [short_name(classes, class_id) for class_id in range(len(classes))]
    write_names(picture, np.where(counted, labels, -1), names, ImageFont.load_default(size=14))
    return picture


def write_names(
    picture: Image.Image,
    labels: NDArray[np.int32],
    names: Sequence[str],
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    """Write each class where it is widest, and after that again on its other wide regions.

    Args:
        picture: to write on.
        labels: (H, W), of its size: an index of `names`, −1 for none.
        names: of the classes.
        font: about 14 pixels high.
    """
    draw = ImageDraw.Draw(picture)
    taken: list[tuple[float, float, float, float]] = []
    for y, center, class_id in _places(labels):
        name = names[class_id]
        half = draw.textlength(name, font) / 2 + 2
        x = min(max(center, half), picture.width - half)
        box = (x - half, y - 8.0, x + half, y + 8.0)
        if not any(_cross(box, other) for other in taken):
            taken.append(box)
            draw.text((x, y), name, "white", font, "mm", stroke_width=2, stroke_fill="black")


def _places(labels: NDArray[np.int32]) -> list[tuple[int, int, int]]:
    """Where to write which class: (row, column, class), the most important first."""
    first, further = [], []
    for class_id in large_classes(labels):
        # Distance of each pixel to the region's border, which the picture's frame is, too.
        depth = distance_transform_edt(np.pad(labels == class_id, 1))[1:-1, 1:-1]
        regions, number = connected_regions(depth > 0)
        positions = np.array(maximum_position(depth, regions, np.arange(1, number + 1)))
        depths = depth[tuple(positions.T)]
        order = np.argsort(-depths, kind="stable")
        places = [(int(y), int(x), class_id) for y, x in positions[order]]
        first += places[: int(depths.max() >= _SMALLEST_DEPTH)]
        further += places[1 : int((depths >= _WIDE).sum())]
    return first + further


def _cross(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
