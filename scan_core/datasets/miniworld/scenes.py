"""Scenes: bands of stuff, a landmark, and a few things, with the concept of every pixel."""

from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scan_core.datasets.miniworld.concepts import COLORS, PATTERNS, SHAPES, STUFF, concept_id
from scan_core.datasets.miniworld.shapes import landmark, thing
from scan_core.datasets.miniworld.textures import crop

# Bands from top to bottom (where several are named, one is drawn), and the landmarks.
_Scenes = dict[str, tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]]
_SCENES: _Scenes = {
    "beach": ((("sky",), ("sea",), ("sand",)), ("sun", "cloud")),
    "meadow": ((("sky",), ("mountain", "hedge"), ("grass",)), ("tent", "sun", "cloud")),
    "winter": ((("sky",), ("mountain",), ("snow",)), ("igloo", "cloud")),
    "street": ((("sky",), ("brick wall", "stone wall"), ("road",)), ("sun", "cloud")),
    "room": ((("wallpaper", "curtain"), ("wood floor", "carpet", "rug")), ("lamp",)),
    "garden": ((("sky",), ("hedge", "bush"), ("grass", "soil")), ("sun", "cloud")),
    "poolside": ((("stone wall", "hedge"), ("pool",), ("tile floor",)), ("lamp",)),
    "hall": ((("brick wall", "stone wall", "wallpaper"), ("tile floor", "carpet")), ("lamp",)),
}
_STANDING = ("tent", "igloo")  # in front of the things; other landmarks are behind them

# What the training scenes hold: the vocabulary that the segmenter learns, and, as COCO's images
# hold more than its classes, lamps and pools, which have no label there but stand in the captions:
# the look-alikes of sun and sea, which nothing but the surroundings tells from them.
_SEEN_SCENES: _Scenes = {
    "beach": ((("sky",), ("sea",), ("sand",)), ("sun", "cloud")),
    "meadow": ((("sky",), ("mountain", "hedge"), ("grass",)), ("sun", "cloud")),
    "street": ((("sky",), ("brick wall",), ("road",)), ("sun", "cloud")),
    "room": ((("wallpaper",), ("wood floor",)), ("lamp",)),
    "garden": ((("sky",), ("hedge",), ("grass",)), ("sun", "cloud")),
    "poolside": ((("brick wall", "hedge"), ("pool",), ("wood floor",)), ("lamp",)),
    "hall": ((("brick wall", "wallpaper"), ("wood floor",)), ("lamp",)),
}
_SEEN_SHAPES = ("box", "star", "car", "mushroom", "flower")  # known by their bare nouns
_SEEN_PAIRS = (
    ("ball", "red"), ("ball", "blue"), ("boat", "yellow"), ("boat", "red"), ("house", "green"),
    ("ring", "purple"), ("ring", "orange"),
)  # fmt: skip

_SHARE_OF_PLAIN_BACKDROPS = 0.3
_SURROUNDINGS = {
    "sun": ("sky",),
    "lamp": ("wallpaper", "curtain", "stone wall", "brick wall"),
    "tent": ("grass",),
    "igloo": ("snow",),
}

Kind = tuple[str, str, str]  # shape, colour, pattern


@dataclass(frozen=True)
class Scene:
    """One image.

    Attributes:
        pixels: (H, W, 3) uint8, RGB.
        concepts: (H, W) int16, number of the concept of every pixel.
        things: visible things from back to front, as concept numbers.
    """

    pixels: NDArray[np.uint8]
    concepts: NDArray[np.int16]
    things: tuple[int, ...]


@cache
def thing_kinds(seen_only: bool) -> tuple[tuple[str, str], ...]:
    """Shape and colour of the things that may occur.

    Args:
        seen_only: only those whose names are in the training vocabulary.
    """
    if not seen_only:
        return tuple(product(SHAPES, COLORS))
    # Every training name as often as any other: a bare noun stands for all colours.
    return (*product(_SEEN_SHAPES, COLORS), *(pair for pair in _SEEN_PAIRS for _ in COLORS))


def draw_scene(stream: tuple[int, ...], number: int, size: int, seen_only: bool = False) -> Scene:
    """Draw one scene.

    Settings and things are dealt from shuffled decks, so that all of them occur even in few
    images, in every combination; the decks differ from stream to stream.

    Args:
        stream: names a sequence of scenes, such as (seed, dataset, split).
        number: of the scene within the sequence.
        size: longer side, pixels; at most `textures.TILE`.
        seen_only: draw only what is in the training vocabulary.
    """
    rng = np.random.default_rng([*stream, number])
    scenes = tuple((_SEEN_SCENES if seen_only else _SCENES).values())
    bands, landmarks = scenes[_dealt((*stream, 1), number, len(scenes))]
    height, width = ((size, size), (size, size * 7 // 8), (size * 7 // 8, size))[rng.integers(3)]
    picture = _Picture(rng, np.empty((height, width, 3), np.float32))
    edges = picture.draw_bands(bands)
    names = [name for name in landmarks if rng.random() < 0.75]
    for name in names:
        if name not in _STANDING:
            picture.draw_landmark(name, edges)
    picture.draw_things(_kinds_of(rng, stream, number, seen_only), edges)
    for name in names:
        if name in _STANDING:
            picture.draw_landmark(name, edges)
    visible, counts = np.unique(picture.concepts, return_counts=True)
    things = visible[(visible >= len(STUFF)) & (counts >= 12)]
    return Scene(picture.lit(), picture.concepts, tuple(things.tolist()))


def _kinds_of(
    rng: np.random.Generator, stream: tuple[int, ...], number: int, seen_only: bool
) -> list[Kind]:
    """Two, three or four things, from back to front: the next of the deck."""
    count = 2 + number % 3
    first = number // 3 * 9 + (0, 2, 5)[number % 3]
    pairs = thing_kinds(seen_only)
    dealt = [pairs[_dealt((*stream, 2), first + i, len(pairs))] for i in range(count)]
    return [(*pair, PATTERNS[rng.integers(len(PATTERNS))]) for pair in dealt]


def _dealt(stream: tuple[int, ...], position: int, cards: int) -> int:
    """The card at a position of an endless deck that is shuffled again after every round."""
    return _shuffled(stream, position // cards, cards)[position % cards]


@lru_cache(maxsize=64)
def _shuffled(stream: tuple[int, ...], turn: int, cards: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng([*stream, turn]).permutation(cards).tolist())


class _Picture:
    """A picture that is being drawn, and the concept of every pixel.

    Args:
        rng: every random number comes from it.
        pixels: (H, W, 3) float32, 0..255; drawn over.
    """

    def __init__(self, rng: np.random.Generator, pixels: NDArray[np.float32]) -> None:
        self.rng, self.pixels = rng, pixels
        self.height, self.width, _ = pixels.shape
        self.concepts = np.zeros((self.height, self.width), np.int16)

    def fill(self, region: NDArray[np.bool_], name: str) -> None:
        """Fill a region, (H, W), with some stuff."""
        self.pixels[region] = crop(name, self.height, self.width, self.rng)[region]
        self.concepts[region] = concept_id(name)

    def paste(
        self, mask: NDArray[np.bool_], surface: NDArray[np.float32], x: int, y: int, concept: int
    ) -> None:
        """Put a thing, of a square mask, at (x, y)."""
        place = np.s_[y : y + len(mask), x : x + len(mask)]
        self.pixels[place][mask] = surface[mask]
        self.concepts[place][mask] = concept

    def draw_bands(self, bands: tuple[tuple[str, ...], ...]) -> list[int]:
        """Fill it from top to bottom; return the mean height of every band's upper edge."""
        tops = (0.0, 0.44, 0.62) if len(bands) == 3 else (0.0, 0.56)
        rows = np.arange(self.height)[:, None]
        columns = np.arange(self.width) / self.width
        edges = []
        for top, choices in zip(tops, bands, strict=True):
            name = choices[self.rng.integers(len(choices))]
            edge = 0.0 if top == 0 else (top + self.rng.uniform(-0.06, 0.06)) * self.height
            waves = 0.22 if name == "mountain" else 0.018 if top else 0.0
            slope = np.sin(columns * self.rng.uniform(4, 9) + self.rng.uniform(0, 6.3))
            line = edge + waves * self.height * (slope - (0.8 if waves > 0.1 else 0))
            self.fill(rows >= line, name)
            edges.append(round(edge))
        return edges

    def draw_landmark(self, name: str, edges: list[int]) -> None:
        if name == "cloud":
            for _ in range(self.rng.integers(1, 3)):
                self.draw_cloud(edges[1])
            return
        size = round(self.rng.uniform(26, 36) * max(self.height, self.width) / 128)
        x = int(self.rng.integers(2, self.width - size - 1))
        if name in ("sun", "lamp"):
            y = int(self.rng.integers(1, max(2, edges[1] - size)))
        else:
            size = round(1.35 * size)
            x = int(self.rng.integers(2, self.width - size - 1))
            bottom = self.rng.uniform(edges[-1] + 0.15 * self.height, 0.97 * self.height)
            y = round(bottom) - size
        self.paste(*landmark(name, size), x, y, concept_id(name))

    def draw_cloud(self, horizon: int) -> None:
        rng, height, width = self.rng, self.height, self.width
        y, x = np.ogrid[0:height, 0:width]
        cx, cy = rng.uniform(0.1, 0.9) * width, rng.uniform(0.15, 0.6) * horizon
        region = np.zeros((height, width), bool)
        for offset in (-0.11, 0.0, 0.12):
            rx, ry = rng.uniform(0.09, 0.15) * width, rng.uniform(0.055, 0.085) * height
            dy = rng.uniform(-0.02, 0.02) * height
            region |= ((x - cx - offset * width) / rx) ** 2 + ((y - cy - dy) / ry) ** 2 < 1
        self.fill(region & (self.concepts == concept_id("sky")), "cloud")

    def draw_things(self, kinds: list[Kind], edges: list[int]) -> None:
        """Things side by side in the lower part, the lower ones in front."""
        rng, height, width = self.rng, self.height, self.width
        slots = (np.arange(len(kinds)) + 0.5) / len(kinds) + rng.uniform(-0.06, 0.06, len(kinds))
        places = sorted(
            (float(rng.uniform(edges[1] + 0.12 * height, 0.97 * height)), float(slot) * width)
            for slot in slots
        )
        for (bottom, middle), kind in zip(places, kinds, strict=True):
            depth = 0.75 + 0.35 * (bottom / height)
            size = round(rng.uniform(36, 54) * depth * max(height, width) / 128)
            mask, surface = thing(*kind, size, mirrored=bool(rng.integers(2)))
            x = round(min(max(middle - size / 2, 0), width - size))
            self.paste(mask, surface, x, round(bottom - size), concept_id(*kind))

    def lit(self) -> NDArray[np.uint8]:
        """The picture in uneven light, with the noise of a sensor."""
        slope_y, slope_x = self.rng.uniform(-0.1, 0.1, 2)
        rows, columns = np.linspace(-1, 1, self.height), np.linspace(-1, 1, self.width)
        light = (1 + slope_y * rows[:, None] + slope_x * columns) * self.rng.uniform(0.9, 1.08)
        noise = self.rng.standard_normal(self.pixels.shape, dtype=np.float32) * 4
        lit: NDArray[np.float32] = self.pixels * light.astype(np.float32)[..., None] + noise
        return lit.clip(0, 255).astype(np.uint8)


def draw_shot(rng: np.random.Generator, kind: Kind, size: int) -> NDArray[np.uint8]:
    """One thing, large, before some stuff or, as in a shop, before one plain colour.

    Returns:
        (size, size, 3) uint8.
    """
    if rng.random() < _SHARE_OF_PLAIN_BACKDROPS:
        backdrop: NDArray[np.generic] = np.broadcast_to(rng.uniform(60, 220, 3), (size, size, 3))
    else:
        backdrop = crop(STUFF[rng.integers(len(STUFF))], size, size, rng)
    side = round(rng.uniform(0.62, 0.98) * size)
    return _close_up(rng, backdrop, *thing(*kind, side, mirrored=bool(rng.integers(2))))


def draw_landmark_shot(rng: np.random.Generator, name: str, size: int) -> NDArray[np.uint8]:
    """A sun, lamp, tent or igloo, large, before what it belongs to: (size, size, 3) uint8."""
    surroundings = _SURROUNDINGS[name]
    backdrop = crop(surroundings[rng.integers(len(surroundings))], size, size, rng)
    return _close_up(rng, backdrop, *landmark(name, round(rng.uniform(0.4, 0.8) * size)))


def _close_up(
    rng: np.random.Generator,
    backdrop: NDArray[np.generic],
    mask: NDArray[np.bool_],
    surface: NDArray[np.float32],
) -> NDArray[np.uint8]:
    picture = _Picture(rng, backdrop.astype(np.float32))
    x, y = rng.integers(0, len(backdrop) - len(mask) + 1, 2)
    picture.paste(mask, surface, x, y, concept=0)
    return picture.lit()


def swatch(rng: np.random.Generator, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A piece of stuff as it is, or cut out in some shape and laid on one plain colour.

    Args:
        rng: decides.
        pixels: (S, S, 3).
    """
    if rng.random() >= _SHARE_OF_PLAIN_BACKDROPS:
        return pixels
    coarse = Image.fromarray(rng.random((4, 4), dtype=np.float32))
    smooth = np.asarray(coarse.resize(pixels.shape[1::-1], Image.Resampling.BICUBIC))
    shape = smooth > np.quantile(smooth, rng.uniform(0.1, 0.6))
    return np.where(shape[..., None], pixels, rng.integers(60, 220, 3)).astype(np.uint8)


def reduced(scene: Scene, size: int) -> NDArray[np.uint8]:
    """A scene's picture squeezed to (size, size, 3) uint8."""
    image = Image.fromarray(scene.pixels).resize((size, size), Image.Resampling.BOX)
    return np.asarray(image)
