"""What the page shows: the networks look at an image once, all else is worked out each time."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from scan_core.apps.own_classes import OwnClasses, foreign_words, own_classes, parse_classes
from scan_core.apps.own_images import OwnSegmentation, classify
from scan_core.datasets.miniworld.scenes import draw_scene
from scan_core.errors import InputError
from scan_core.inference.image_features import pixel_key
from scan_core.inference.scan import Scan
from scan_core.inference.views import ImageViews
from scan_core.reporting.draw import class_colors, draw_label_map, fitted
from scan_core.storage.images import read_image

_log = logging.getLogger(__name__)
LONGEST_SIDE = 1024  # of an image on the page, pixels: larger ones are made smaller
# Limits of one request, so that no visitor keeps the others waiting for long.
MOST_PIXELS = 50_000_000
MOST_WORDS = 300
MOST_LETTERS = 10_000
TIME_LIMIT = 120.0  # seconds for the words; those that are read already count for the next request
_WORDS_AT_ONCE = 16
# What browsers show. Other decoders, which few people need here, are not open to visitors.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")
EXAMPLES = 6
_EXAMPLE_STREAM = (2024, 6)  # of no data set


@dataclass(frozen=True)
class Seen:
    """An image and what the networks saw in it.

    Attributes:
        key: identifies the image.
        image: (H, W, 3) uint8, RGB.
        views: what the networks said; it does not depend on words, weight and mask threshold.
    """

    key: int
    image: NDArray[np.uint8]
    views: ImageViews


@dataclass(frozen=True)
class Row:
    """A class in the page's table.

    Attributes:
        name: of the class.
        color: RGB.
        share: of the image, 0..1.
        pixels: number of pixels.
        score: mean over its pixels, 0..1; None for a class that is nowhere.
    """

    name: str
    color: tuple[int, int, int]
    share: float
    pixels: int
    score: float | None


@dataclass(frozen=True)
class Answer:
    """The overlay, the table, and words that CLIP may not know."""

    picture: Image.Image
    rows: tuple[Row, ...]
    foreign: tuple[str, ...]


class Viewer:
    """Segments images for the page.

    Crops are formed at one threshold, the model's own, so that the mask threshold, which says what
    CLIP is shown, can move without making new ones.

    Args:
        scan: the model.
        time_limit: seconds that the words of a request may take.
    """

    def __init__(self, scan: Scan, time_limit: float = TIME_LIMIT) -> None:
        self.scan, self.time_limit = scan, time_limit
        self.settings = scan.settings

    @property
    def minimum_threshold(self) -> float:
        """A mask threshold below that of the crops is no other than that."""
        return self.settings.crop_threshold

    def look(self, path: Path, seen: Seen | None = None) -> Seen:
        """Run the networks, unless the image is the one that they have just seen.

        Args:
            path: of any image.
            seen: what was seen last.

        Raises:
            InputError: unreadable, or larger than `MOST_PIXELS`.
        """
        try:
            array = read_image(path, MOST_PIXELS, FORMATS)
        except InputError as error:
            # Where the server keeps the file is nothing to a visitor.
            raise InputError(str(error).replace(str(path), path.name)) from None
        longest = max(array.shape[:2])
        if longest > LONGEST_SIDE:
            scale = LONGEST_SIDE / longest
            size = tuple(max(1, round(scale * side)) for side in (array.shape[1], array.shape[0]))
            smaller = Image.fromarray(array).resize((size[0], size[1]), Image.Resampling.LANCZOS)
            array = np.asarray(smaller)
        key = pixel_key(self.scan.resize(array))
        if seen is not None and seen.key == key and seen.image.shape == array.shape:
            return seen
        start = time.monotonic()
        # The weight may be raised later, so CLIP is asked whatever it is now.
        (views,) = self.scan.encode([array], [self.settings.with_clip_weight(1.0)])
        _log.info("looked at %d x %d pixels: %.1f s", *array.shape[:2], time.monotonic() - start)
        return Seen(key, array, views)

    def answer(
        self,
        seen: Seen,
        names: str,
        background: str,
        clip_weight: float,
        mask_threshold: float,
        minimum_score: float,
    ) -> Answer:
        """Combine what was seen with words and settings.

        Args:
            seen: from `look`.
            names: see `parse_classes`; without files.
            background: likewise; words that together are the background.
            clip_weight: 0 to 1.
            mask_threshold: at least `minimum_threshold`.
            minimum_score: pixels that score less are background.

        Raises:
            InputError: names that are none, more of them than `MOST_WORDS`, or a setting that is
                no such number.
        """
        clip_weight = _fraction(clip_weight, "CLIP weight")
        mask_threshold = max(_fraction(mask_threshold, "mask threshold"), self.minimum_threshold)
        minimum_score = _fraction(minimum_score, "minimum score")
        classes = _classes(names, background, minimum_score)
        settings = replace(self.settings, clip_weight=clip_weight, mask_threshold=mask_threshold)
        result = classify(
            self.scan,
            seen.views,
            self._embed(classes.words, settings.prompts),
            classes,
            settings,
            (seen.image.shape[0], seen.image.shape[1]),
            minimum_score,
        )
        colors = class_colors(len(classes.names), classes.background_id)
        labels = result.class_map
        if classes.background_id is not None:
            labels = np.where(labels == classes.background_id, -1, labels)
        picture = draw_label_map(fitted(seen.image), labels, classes.names, colors)
        return Answer(picture, _rows(result, colors), tuple(foreign_words(classes.words)))

    def _embed(self, words: Sequence[str], prompts: str | None) -> Tensor:
        """The words' features; those of earlier requests are remembered by the model."""
        end = time.monotonic() + self.time_limit
        for first in range(0, len(words), _WORDS_AT_ONCE):
            if time.monotonic() > end:
                raise InputError(
                    f"the names take longer than {self.time_limit:.0f} s; give fewer at once"
                )
            self.scan.embed(words[first : first + _WORDS_AT_ONCE], prompts)
        return self.scan.embed(words, prompts)


def example_images() -> list[Image.Image]:
    """Scenes of the miniature world, drawn on the spot; no data set holds them."""
    return [
        Image.fromarray(draw_scene(_EXAMPLE_STREAM, number, 128).pixels)
        for number in range(EXAMPLES)
    ]


def _classes(names: str, background: str, minimum_score: float) -> OwnClasses:
    if not isinstance(names, str) or not isinstance(background, str):
        raise InputError("type the class names, with commas between them")
    if len(names) + len(background) > MOST_LETTERS:
        raise InputError(f"the names have more than {MOST_LETTERS:,} letters; give fewer")
    for text in (names, background):
        # `@FILE` is for command lines: a visitor of the page must not read the server's files.
        if text.strip().startswith("@"):
            raise InputError("type the class names, with commas between them")
    wanted = bool(background.strip()) or minimum_score > 0
    classes = own_classes(parse_classes(names), parse_classes(background) if wanted else None)
    if len(classes.words) > MOST_WORDS:
        raise InputError(
            f"{len(classes.words)} names: the page takes at most {MOST_WORDS} at once; give fewer"
        )
    return classes


def _fraction(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f"{name}: expected a number from 0 to 1")
    return float(value)


def _rows(result: OwnSegmentation, colors: NDArray[np.uint8]) -> tuple[Row, ...]:
    """The classes that are there, the largest first, and then those that are not."""
    names, scores = result.classes.names, result.scores()
    pixels = np.bincount(result.class_map.reshape(-1), minlength=len(names))
    rows = [
        Row(
            names[number],
            (int(colors[number][0]), int(colors[number][1]), int(colors[number][2])),
            float(pixels[number] / result.class_map.size),
            int(pixels[number]),
            scores.get(int(number)),
        )
        for number in np.argsort(-pixels, kind="stable")
    ]
    return tuple(rows)
