"""Scenes: bands of stuff, a landmark, and a few things, with the concept of every pixel."""

from dataclasses import dataclass
from functools import cache

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

# Bands from top to bottom; where several are named, one is drawn. `landmark` stands on the
# second band's edge (tent, igloo) or hangs in the first (sun, lamp).
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
SCENES = tuple(_SCENES)

# What the training scenes may hold: the vocabulary that the segmenter sees.
_SEEN_SCENES: dict[str, tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]] = {
    "beach": ((("sky",), ("sea",), ("sand",)), ("sun", "cloud")),
    "meadow": ((("sky",), ("mountain", "hedge"), ("grass",)), ("sun", "cloud")),
    "street": ((("sky",), ("brick wall",), ("road",)), ("sun", "cloud")),
    "room": ((("wallpaper",), ("wood floor",)), ()),
    "garden": ((("sky",), ("hedge",), ("grass",)), ("sun", "cloud")),
    "hall": ((("brick wall", "wallpaper"), ("wood floor",)), ()),
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
def thing_kinds(seen_only: bool) -> tuple[Kind, ...]:
    """The things that may occur, in a fixed shuffled order.

    Args:
        seen_only: only those whose names are in the training vocabulary.
    """
    if seen_only:
        pairs = [(shape, color) for shape in _SEEN_SHAPES for color in COLORS]
        pairs += [pair for pair in _SEEN_PAIRS for _ in range(5)]  # as many as bare nouns
    else:
        pairs = [(shape, color) for shape in SHAPES for color in COLORS]
    kinds = [(*pair, pattern) for pair in pairs for pattern in PATTERNS]
    order = np.random.default_rng(20240617).permutation(len(kinds))
    return tuple(kinds[i] for i in order)


def draw_scene(rng: np.random.Generator, number: int, size: int, seen_only: bool = False) -> Scene:
    """Draw one scene.

    Args:
        rng: everything random comes from it.
        number: of the image; kinds of things and scenes are dealt out by it in turn, so that
            all of them occur even in few images.
        size: longer side, pixels.
        seen_only: draw only what is in the training vocabulary.
    """
    scenes = _SEEN_SCENES if seen_only else _SCENES
    setting = tuple(scenes)[number % len(scenes)]
    bands, landmarks = scenes[setting]
    height, width = ((size, size), (size, size * 7 // 8), (size * 7 // 8, size))[rng.integers(3)]
    pixels = np.empty((height, width, 3), np.float32)
    concepts = np.empty((height, width), np.int16)
    edges = _draw_bands(rng, bands, pixels, concepts)
    names = [name for name in landmarks if rng.random() < 0.75]
    for name in names:
        _draw_landmark(rng, name, edges, pixels, concepts)
    _draw_things(rng, thing_kinds(seen_only), number, edges, pixels, concepts)
    _light(rng, pixels)
    visible, counts = np.unique(concepts, return_counts=True)
    things = visible[(visible >= len(STUFF)) & (counts >= 12)]
    return Scene(pixels.clip(0, 255).astype(np.uint8), concepts, setting, tuple(things.tolist()))


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
        y = edges[-1] - round(0.72 * size)
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
    kinds: tuple[Kind, ...],
    number: int,
    edges: list[int],
    pixels: NDArray[np.float32],
    concepts: NDArray[np.int16],
) -> None:
    """Two to four things side by side in the lower part, the lower ones in front."""
    height, width = concepts.shape
    count = int(rng.integers(2, 5))
    slots = (np.arange(count) + 0.5) / count + rng.uniform(-0.06, 0.06, count)
    places = sorted(
        (float(rng.uniform(edges[1] + 0.12 * height, 0.97 * height)), float(slot) * width)
        for slot in slots
    )
    for position, (bottom, middle) in enumerate(places):
        shape, color, pattern = kinds[(4 * number + position) % len(kinds)]
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
    """One thing, large, before some stuff: (size, size, 3) uint8."""
    pixels = crop(STUFF[rng.integers(len(STUFF))], size, size, rng).astype(np.float32)
    concepts = np.zeros((size, size), np.int16)
    side = round(rng.uniform(0.62, 0.98) * size)
    mask, light = silhouette(kind[0], side, mirrored=bool(rng.integers(2)))
    x, y = rng.integers(0, size - side + 1, 2)
    surface = paint(kind[1], kind[2], side) * light
    _paste(mask, surface, int(x), int(y), thing_id(*kind), pixels, concepts)
    _light(rng, pixels)
    return pixels.clip(0, 255).astype(np.uint8)


def reduced(scene: Scene, size: int) -> NDArray[np.uint8]:
    """A scene's picture squeezed to (size, size, 3) uint8."""
    image = Image.fromarray(scene.pixels).resize((size, size), Image.Resampling.BOX)
    return np.asarray(image)
