"""A segmentation as one picture: colours over the image, names on them, a legend below."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from scan_core.reporting.pictures.fonts import Lettering, lettering_for
from scan_core.reporting.pictures.label_map import write_names
from scan_core.reporting.pictures.sheet import class_colors

_OPACITY = 0.6
_EDGE = (30, 30, 30)
_SIDES = (640, 1280)  # the longer side is brought between these, pixels
_LINE, _GAP, _SWATCH = 28, 14, 18
_MOST = 24  # classes in the legend
_PAPER = (255, 255, 255)


def colors_of(number: int, background: int | None = None) -> NDArray[np.uint8]:
    """One colour for each class, the same in every picture of the same classes.

    Args:
        number: of classes.
        background: the class that is grey, if there is one.

    Returns:
        (number, 3) uint8, RGB.
    """
    colors = class_colors(number)
    if background is not None:
        colors[background] = 110
    return colors


def blend(
    image: NDArray[np.uint8],
    class_map: NDArray[np.int32],
    names: Sequence[str],
    colors: NDArray[np.uint8],
    background: int | None = None,
) -> Image.Image:
    """Colour the classes over the image, with names on them; the background stays as it is, paler.

    Args:
        image: (H, W, 3) uint8, RGB.
        class_map: (H, W), an index of `names` for every pixel.
        names: of the classes.
        colors: (K, 3), of the classes.
        background: the class that gets neither colour nor name.
    """
    photo = Image.fromarray(image)
    longest = max(photo.size)
    scale = min(max(longest, _SIDES[0]), _SIDES[1]) / longest
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    photo = photo.resize(size, Image.Resampling.BICUBIC)
    labels = np.asarray(Image.fromarray(class_map).resize(size, Image.Resampling.NEAREST))
    pixels = np.asarray(photo, dtype=np.float32)
    # Over grey, so that a colour looks as it does in the legend.
    grey = 0.7 * np.asarray(photo.convert("L"), dtype=np.float32)[..., None] + 60
    painted = (1 - _OPACITY) * grey + _OPACITY * colors[labels]
    if background is not None:
        pale = 0.55 * pixels + 0.45 * 255
        painted = np.where((labels == background)[..., None], pale, painted)
    edges = np.zeros(labels.shape, dtype=bool)
    edges[1:] |= labels[1:] != labels[:-1]
    edges[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    painted[edges] = _EDGE
    picture = Image.fromarray(painted.astype(np.uint8))
    named = labels if background is None else np.where(labels == background, -1, labels)
    lettering = lettering_for(names)
    write_names(picture, named, lettering.written(names), lettering.font(15))
    return picture


def draw_overlay(
    image: NDArray[np.uint8],
    class_map: NDArray[np.int32],
    names: Sequence[str],
    scores: Mapping[int, float],
    background: int | None = None,
) -> Image.Image:
    """The coloured image and a legend: each class with its share of the pixels and its score.

    Args:
        image: see `blend`.
        class_map: see `blend`.
        names: see `blend`.
        scores: of the classes that are there.
        background: see `blend`.
    """
    colors = colors_of(len(names), background)
    picture = blend(image, class_map, names, colors, background)
    ids, areas = np.unique(class_map, return_counts=True)
    order = [int(ids[i]) for i in np.argsort(-areas, kind="stable")]
    share = dict(zip(ids.tolist(), (areas / class_map.size).tolist(), strict=True))
    lettering = lettering_for(names)
    written = lettering.written(names)
    entries = [
        (written[c], f"{_per_cent(share[c])}, score {scores[c]:.2f}", colors[c])
        for c in order[:_MOST]
    ]
    further = len(order) - len(entries)
    legend = _legend(entries, lettering, further, max(picture.width, 360))
    sheet = Image.new("RGB", (legend.width, picture.height + legend.height), _PAPER)
    sheet.paste(picture, ((legend.width - picture.width) // 2, 0))
    sheet.paste(legend, (0, picture.height))
    return sheet


def _per_cent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else "< 1 %"


def _legend(
    entries: Sequence[tuple[str, str, NDArray[np.uint8]]],
    lettering: Lettering,
    further: int,
    width: int,
) -> Image.Image:
    names, numbers = lettering.font(17), ImageFont.load_default(size=14)
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    widest = max(
        _SWATCH + 8 + ruler.textlength(name, names) + 10 + ruler.textlength(text, numbers)
        for name, text, _ in entries
    )
    columns = max(1, int((width - _GAP) // (widest + 2 * _GAP)))
    column = (width - _GAP) / columns
    rows = -(-len(entries) // columns)
    height = 2 * _GAP + rows * _LINE + (_LINE if further else 0)
    legend = Image.new("RGB", (max(width, round(widest + 2 * _GAP)), height), _PAPER)
    draw = ImageDraw.Draw(legend)
    for place, (name, text, color) in enumerate(entries):
        # Down the columns, so that the largest stand on top of each other.
        x = _GAP + place // rows * column
        y = _GAP + place % rows * _LINE + _LINE / 2
        box = (x, y - _SWATCH / 2, x + _SWATCH, y + _SWATCH / 2)
        draw.rounded_rectangle(box, 4, tuple(color.tolist()), outline=_EDGE)
        x += _SWATCH + 8
        draw.text((x, y), name, "black", names, anchor="lm")
        draw.text((x + draw.textlength(name, names) + 10, y), text, (95, 95, 95), numbers, "lm")
    if further:
        y = _GAP + rows * _LINE + _LINE / 2
        draw.text((_GAP, y), f"and {further} smaller ones", (95, 95, 95), numbers, "lm")
    return legend
