"""Panels of predictions: each row one image, its ground truth, and every way of classifying it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.params.classifiers import CLASSIFIERS
from scan_core.reporting.pictures.label_map import draw_label_map, large_classes, short_name
from scan_core.reporting.pictures.sheet import class_colors
from scan_core.storage.atomic import atomic_path
from scan_core.storage.images import read_label
from scan_core.vocabulary.classes import ClassList

PREDICTIONS = ("in_vocabulary", "clip_only", "combined")

_TILE = 256  # longer side of one picture, pixels
_GAP = 10
_LINE = 24  # height of one line of text
_TITLE = 34
_BACKGROUND = (250, 250, 250)
_CANDIDATES = 200  # images that are looked at, evenly taken from the benchmark


@dataclass(frozen=True)
class _Row:
    """One image: (H, W, 3) RGB, (H, W) ground truth (−1: none), (H, W) of each prediction."""

    image: NDArray[np.uint8]
    truth: NDArray[np.int32]
    predictions: tuple[NDArray[np.int32], ...]

    def right(self, prediction: int) -> float:
        """Share of the pixels with ground truth that a prediction, by its place, has right."""
        counted = self.truth >= 0
        values = self.predictions[prediction]
        return float((values == self.truth)[counted].mean()) if counted.any() else 0.0

    def shown(self) -> list[int]:
        """Classes that are large enough to be named: those of the ground truth, then others."""
        counted = self.truth >= 0
        maps = (self.truth, *self.predictions)
        return list(dict.fromkeys(c for m in maps for c in large_classes(np.where(counted, m, -1))))


def draw_panels(
    images: BenchmarkImages, classes: ClassList, predictions: Path, number: int, output: Path
) -> None:
    """Draw images that show many classes, with a legend below each, the most typical one first.

    Args:
        images: of the benchmark.
        classes: of the benchmark.
        predictions: folder of the predicted maps, `<mode>/<stem>.png`, training ids.
        number: of images; fewer if fewer have predictions.
        output: PNG to write, atomically.

    Raises:
        InputError: the class list is another, no image has all predictions, or a prediction does
            not fit its image.
    """
    if len(images.index.names) != len(classes):
        raise InputError(
            f"the benchmark {images.index.name} has {len(images.index.names)} classes, the class "
            f"list {classes.name} {len(classes)}; name the class list that it was converted with"
        )
    available = [
        n
        for n in range(len(images))
        if all((predictions / mode / f"{images.stem(n)}.png").is_file() for mode in PREDICTIONS)
    ]
    if not available:
        raise InputError(
            f"{predictions} holds predictions of no image of {images.index.name}; expected "
            f"<mode>/<image>.png with the modes {', '.join(PREDICTIONS)}. Evaluate again."
        )
    rows = [
        _load(images, classes, predictions, n) for n in choose_images(images, available, number)
    ]
    # What a report shows alone is as good as the benchmark is on average, neither better nor worse.
    average = fmean(
        _load(images, classes, predictions, n).right(-1) for n in _candidates(available)
    )
    rows.sort(key=lambda row: abs(row.right(-1) - average))
    # Few classes are shown at once, so that their colours are farther apart than all classes'.
    shown = sorted({c for row in rows for c in row.shown()})
    colors = np.full((len(classes), 3), 128, dtype=np.uint8)
    colors[shown] = class_colors(len(shown))
    strips = [_strip(row, classes, colors) for row in rows]
    title = _titles()
    height = title.height + sum(strip.height for strip in strips)
    sheet = Image.new("RGB", (title.width, height), _BACKGROUND)
    sheet.paste(title, (0, 0))
    y = title.height
    ends = []
    for strip in strips:
        sheet.paste(strip, (0, y))
        y += strip.height
        ends.append(y)
    about = PngInfo()
    about.add_text("rows", json.dumps(ends))  # for a page that shows the first of them alone
    with atomic_path(output) as temporary:
        sheet.save(temporary, pnginfo=about)


def choose_images(images: BenchmarkImages, available: Sequence[int], number: int) -> list[int]:
    """Choose images that show many classes, and other classes than those chosen before.

    The choice is the same on every call.

    Args:
        images: of the benchmark.
        available: which of them may be chosen.
        number: how many; fewer if there are fewer.

    Returns:
        positions in the benchmark, the best first.
    """
    candidates = {n: set(large_classes(images.label(n))) for n in _candidates(available)}
    chosen: list[int] = []
    known: set[int] = set()
    while candidates and len(chosen) < number:
        best = max(candidates, key=lambda n: (len(candidates[n]) + len(candidates[n] - known), -n))
        chosen.append(best)
        known |= candidates.pop(best)
    return chosen


def _candidates(available: Sequence[int]) -> list[int]:
    """At most so many, evenly taken, each once."""
    spread = np.linspace(0, len(available) - 1, min(_CANDIDATES, len(available))).round()
    return [available[int(i)] for i in spread]


def _load(images: BenchmarkImages, classes: ClassList, folder: Path, number: int) -> _Row:
    truth = images.label(number)
    maps = []
    for mode in PREDICTIONS:
        path = folder / mode / f"{images.stem(number)}.png"
        try:
            prediction = read_label(path).astype(np.int32)
        except InputError as error:
            raise InputError(f"{error}; or evaluate again") from None
        if prediction.shape != truth.shape:
            raise InputError(
                f"{path} has the shape {prediction.shape}, its ground truth {truth.shape}; "
                "expected one training id for each pixel. Evaluate again."
            )
        if classes.predict_with is not None:
            # Predicted among more classes than are scored: all others are the background.
            prediction = prediction.clip(max=len(classes) - 1)
        if prediction.max() >= len(classes):
            raise InputError(
                f"{path} holds the id {prediction.max()}, but {classes.name} has only "
                f"{len(classes)} classes; evaluate again"
            )
        maps.append(prediction)
    return _Row(images.image(number), truth, tuple(maps))


def _strip(row: _Row, classes: ClassList, colors: NDArray[np.uint8]) -> Image.Image:
    """One image with all its maps, their shares of right pixels, and the legend."""
    scale = _TILE / max(row.truth.shape)
    size = (
        max(1, round(row.truth.shape[1] * scale)),
        max(1, round(row.truth.shape[0] * scale)),
    )
    photo = Image.fromarray(row.image).resize(size, Image.Resampling.BICUBIC)
    maps = (row.truth, *row.predictions)
    tiles = [photo, *(draw_label_map(photo, m, row.truth, classes, colors) for m in maps)]
    shares = [row.right(place) for place in range(len(row.predictions))]
    captions = ["", "", *(f"{100 * share:.0f} % right, the rest hatched" for share in shares)]
    width = len(tiles) * (_TILE + _GAP) + _GAP
    legend = _legend(row, classes, colors, width - 2 * _GAP)
    top = size[1] + _LINE
    strip = Image.new("RGB", (width, top + legend.height + 2 * _GAP), _BACKGROUND)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(size=14)
    for column, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        left = _GAP + column * (_TILE + _GAP) + (_TILE - size[0]) // 2
        strip.paste(tile, (left, 0))
        draw.text((left + size[0] / 2, size[1] + _LINE / 2), caption, "black", font, anchor="mm")
    strip.paste(legend, (_GAP, top))
    return strip


def _titles() -> Image.Image:
    names = ["image", "ground truth", *(CLASSIFIERS[mode] for mode in PREDICTIONS)]
    title = Image.new("RGB", (len(names) * (_TILE + _GAP) + _GAP, _TITLE), _BACKGROUND)
    draw, font = ImageDraw.Draw(title), ImageFont.load_default(size=18)
    for column, name in enumerate(names):
        center = _GAP + column * (_TILE + _GAP) + _TILE / 2
        draw.text((center, _TITLE / 2), name, "black", font, anchor="mm")
    return title


def _legend(row: _Row, classes: ClassList, colors: NDArray[np.uint8], width: int) -> Image.Image:
    font = ImageFont.load_default(size=15)
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    places, x, y = [], 0.0, 0
    for class_id in row.shown():
        name = short_name(classes, class_id)
        if classes.seen is not None and not classes.seen[class_id]:
            name += " (unseen)"
        length = 22 + ruler.textlength(name, font) + 18
        if x + length > width:
            x, y = 0.0, y + _LINE
        places.append((x, y, name, class_id))
        x += length
    legend = Image.new("RGB", (width, y + _LINE), _BACKGROUND)
    draw = ImageDraw.Draw(legend)
    for left, upper, name, class_id in places:
        draw.rectangle((left, upper + 4, left + 16, upper + 20), tuple(colors[class_id].tolist()))
        draw.text((left + 22, upper + 12), name, "black", font, anchor="lm")
    return legend
