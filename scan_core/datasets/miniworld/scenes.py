"""Scenes: bands of stuff, a landmark, and a few things, with the concept of every pixel."""

from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scan_core.datasets.miniworld.concepts import (
    COLORS,
    PATTERNS,
    SHAPES,
    STUFF,
    stuff_id,
    thing_id,
)
from scan_core.datasets.miniworld.shapes import landmark, paint, silhouette
from scan_core.datasets.miniworld.textures import crop

# Bands from top to bottom (where several are named, one is drawn), and the landmarks.
_SCENES: dict[str, tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]] = {
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
_SEEN_SCENES: dict[str, tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]] = {
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
    ("ball", "red"),
    ("ball", "blue"),
    ("boat", "yellow"),
    ("boat", "red"),
    ("house", "green"),
    ("ring", "purple"),
    ("ring", "orange"),
)

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
        setting: the kind of scene.
        things: visible things from back to front, as concept numbers.
    """

    pixels: NDArray[np.uint8]
    concepts: NDArray[np.int16]
    setting: str
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
    scenes = _SEEN_SCENES if seen_only else _SCENES
    setting = tuple(scenes)[_dealt((*stream, 1), number, len(scenes))]
    bands, landmarks = scenes[setting]
    height, width = ((size, size), (size, size * 7 // 8), (size * 7 // 8, size))[rng.integers(3)]
    pixels = np.empty((height, width, 3), np.float32)
    concepts = np.empty((height, width), np.int16)
    edges = _draw_bands(rng, bands, pixels, concepts)
    names = [name for name in landmarks if rng.random() < 0.75]
    for name in names:
        if name not in _STANDING:
            _draw_landmark(rng, name, edges, pixels, concepts)
    _draw_things(rng, _kinds_of(rng, stream, number, seen_only), edges, pixels, concepts)
    for name in names:
        if name in _STANDING:
            _draw_landmark(rng, name, edges, pixels, concepts)
    _light(rng, pixels)
    visible, counts = np.unique(concepts, return_counts=True)
    things = visible[(visible >= len(STUFF)) & (counts >= 12)]
    return Scene(pixels.clip(0, 255).astype(np.uint8), concepts, setting, tuple(things.tolist()))


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


def _draw_bands(
    rng: np.random.Generator,
    bands: tuple[tuple[str, ...], ...],
    pixels: NDArray[np.float32],
    concepts: NDArray[np.int16],
) -> list[int]:
    """Fill the picture from top to bottom; return the mean height of every band's upper edge."""
    height, width = concepts.shape
    tops = (0.0, 0.44, 0.62) if len(bands) == 3 else (0.0, 0.56)
    rows = np.arange(height)[:, None]
    columns = np.arange(width) / width
    edges = []
    for top, choices in zip(tops, bands, strict=True):
        name = choices[rng.integers(len(choices))]
        edge = 0.0 if top == 0 else (top + rng.uniform(-0.06, 0.06)) * height
        waves = 0.22 if name == "mountain" else 0.018 if top else 0.0
        line = edge + waves * height * (
            np.sin(columns * rng.uniform(4, 9) + rng.uniform(0, 6.3)) - (0.8 if waves > 0.1 else 0)
        )
        region = rows >= line
        pixels[region] = crop(name, height, width, rng)[region]
        concepts[region] = stuff_id(name)
        edges.append(round(edge))
    return edges


def _draw_landmark(
    rng: np.random.Generator,
    name: str,
    edges: list[int],
    pixels: NDArray[np.float32],
    concepts: NDArray[np.int16],
) -> None:
    height, width = concepts.shape
    scale = max(height, width) / 128
    if name == "cloud":
        for _ in range(rng.integers(1, 3)):
            _draw_cloud(rng, edges[1], pixels, concepts)
        return
    size = round(rng.uniform(26, 36) * scale)
    x = int(rng.integers(2, width - size - 1))
    if name in ("sun", "lamp"):
        y = int(rng.integers(1, max(2, edges[1] - size)))
    else:
        size = round(1.35 * size)
        x = int(rng.integers(2, width - size - 1))
        y = round(rng.uniform(edges[-1] + 0.15 * height, 0.97 * height)) - size
    mask, surface = landmark(name, size)
    _paste(mask, surface, x, y, stuff_id(name), pixels, concepts)


def _draw_cloud(
    rng: np.random.Generator,
    horizon: int,
    pixels: NDArray[np.float32],
    concepts: NDArray[np.int16],
) -> None:
    height, width = concepts.shape
    y, x = np.ogrid[0:height, 0:width]
    cx, cy = rng.uniform(0.1, 0.9) * width, rng.uniform(0.15, 0.6) * horizon
    region = np.zeros((height, width), bool)
    for offset in (-0.11, 0.0, 0.12):
        rx, ry = rng.uniform(0.09, 0.15) * width, rng.uniform(0.055, 0.085) * height
        dy = rng.uniform(-0.02, 0.02) * height
        region |= ((x - cx - offset * width) / rx) ** 2 + ((y - cy - dy) / ry) ** 2 < 1
    region &= concepts == stuff_id("sky")
    pixels[region] = crop("cloud", height, width, rng)[region]
    concepts[region] = stuff_id("cloud")


def _draw_things(
    rng: np.random.Generator,
    kinds: list[Kind],
    edges: list[int],
    pixels: NDArray[np.float32],
    concepts: NDArray[np.int16],
) -> None:
    """Things side by side in the lower part, the lower ones in front."""
    height, width = concepts.shape
    count = len(kinds)
    slots = (np.arange(count) + 0.5) / count + rng.uniform(-0.06, 0.06, count)
    places = sorted(
        (float(rng.uniform(edges[1] + 0.12 * height, 0.97 * height)), float(slot) * width)
        for slot in slots
    )
    for (bottom, middle), (shape, color, pattern) in zip(places, kinds, strict=True):
        depth = 0.75 + 0.35 * (bottom / height)
        size = round(rng.uniform(36, 54) * depth * max(height, width) / 128)
        mask, light = silhouette(shape, size, mirrored=bool(rng.integers(2)))
        surface = paint(color, pattern, size) * light
        x = round(min(max(middle - size / 2, 0), width - size))
        concept = thing_id(shape, color, pattern)
        _paste(mask, surface, x, round(bottom - size), concept, pixels, concepts)


def _paste(
    mask: NDArray[np.bool_],
    surface: NDArray[np.float32],
    x: int,
    y: int,
    concept: int,
    pixels: NDArray[np.float32],
    concepts: NDArray[np.int16],
) -> None:
    """Put a thing at (x, y), cut off at the picture's borders."""
    height, width = concepts.shape
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + mask.shape[0], height), min(x + mask.shape[1], width)
    inside = np.s_[top - y : bottom - y, left - x : right - x]
    visible = mask[inside]
    pixels[top:bottom, left:right][visible] = surface[inside][visible]
    concepts[top:bottom, left:right][visible] = concept


def _light(rng: np.random.Generator, pixels: NDArray[np.float32]) -> None:
    """Uneven light and the noise of a sensor, in place."""
    height, width, _ = pixels.shape
    slope_y, slope_x = rng.uniform(-0.1, 0.1, 2)
    light = 1 + slope_y * np.linspace(-1, 1, height)[:, None] + slope_x * np.linspace(-1, 1, width)
    pixels *= (light * rng.uniform(0.9, 1.08)).astype(np.float32)[..., None]
    pixels += rng.standard_normal(pixels.shape, dtype=np.float32) * 4


def draw_shot(rng: np.random.Generator, kind: Kind, size: int) -> NDArray[np.uint8]:
    """One thing, large, before some stuff or, as in a shop, before one plain colour.

    Returns:
        (size, size, 3) uint8.
    """
    pixels = _backdrop(rng, size)
    concepts = np.zeros((size, size), np.int16)
    side = round(rng.uniform(0.62, 0.98) * size)
    mask, light = silhouette(kind[0], side, mirrored=bool(rng.integers(2)))
    x, y = rng.integers(0, size - side + 1, 2)
    surface = paint(kind[1], kind[2], side) * light
    _paste(mask, surface, int(x), int(y), thing_id(*kind), pixels, concepts)
    _light(rng, pixels)
    return pixels.clip(0, 255).astype(np.uint8)


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


def _backdrop(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """(size, size, 3): some stuff, or one plain colour."""
    if rng.random() < _SHARE_OF_PLAIN_BACKDROPS:
        return np.broadcast_to(rng.uniform(60, 220, 3).astype(np.float32), (size, size, 3)).copy()
    return crop(STUFF[rng.integers(len(STUFF))], size, size, rng).astype(np.float32)


def draw_landmark_shot(rng: np.random.Generator, name: str, size: int) -> NDArray[np.uint8]:
    """A sun, lamp, tent or igloo, large, before what it belongs to: (size, size, 3) uint8."""
    surroundings = _SURROUNDINGS[name]
    stuff = surroundings[rng.integers(len(surroundings))]
    pixels = crop(stuff, size, size, rng).astype(np.float32)
    concepts = np.zeros((size, size), np.int16)
    mask, surface = landmark(name, round(rng.uniform(0.4, 0.8) * size))
    x, y = rng.integers(0, size - len(mask) + 1, 2)
    _paste(mask, surface, int(x), int(y), stuff_id(name), pixels, concepts)
    _light(rng, pixels)
    return pixels.clip(0, 255).astype(np.uint8)


def reduced(scene: Scene, size: int) -> NDArray[np.uint8]:
    """A scene's picture squeezed to (size, size, 3) uint8."""
    image = Image.fromarray(scene.pixels).resize((size, size), Image.Resampling.BOX)
    return np.asarray(image)
