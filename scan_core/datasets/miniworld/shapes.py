"""Silhouettes of things, and how a thing is coloured and shaded."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from scan_core.datasets.miniworld.concepts import COLORS

_CANVAS = 256  # silhouettes are drawn at this size and reduced


def _polygon(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]]) -> None:
    draw.polygon([(x * _CANVAS, y * _CANVAS) for x, y in points], fill=255)


def _ellipse(
    draw: ImageDraw.ImageDraw, x: float, y: float, rx: float, ry: float, fill: int = 255
) -> None:
    box = [(x - rx) * _CANVAS, (y - ry) * _CANVAS, (x + rx) * _CANVAS, (y + ry) * _CANVAS]
    draw.ellipse(box, fill=fill)


def _star(points: int, inner: float, outer: float) -> list[tuple[float, float]]:
    angles = np.arange(2 * points) * np.pi / points - np.pi / 2
    radii = np.where(np.arange(2 * points) % 2, inner, outer)
    return [(0.5 + r * np.cos(a), 0.52 + r * np.sin(a)) for a, r in zip(angles, radii, strict=True)]


def _outline(shape: str, draw: ImageDraw.ImageDraw) -> None:
    match shape:
        case "ball" | "disc":
            _ellipse(draw, 0.5, 0.5, 0.46, 0.46)
        case "box":
            _polygon(draw, [(0.08, 0.2), (0.92, 0.2), (0.92, 0.9), (0.08, 0.9)])
        case "star":
            _polygon(draw, _star(5, 0.2, 0.5))
        case "ring":
            _ellipse(draw, 0.5, 0.5, 0.47, 0.47)
            _ellipse(draw, 0.5, 0.5, 0.23, 0.23, fill=0)
        case "heart":
            t = np.linspace(0, 2 * np.pi, 60)
            x = 0.5 + 0.028 * 16 * np.sin(t) ** 3
            y = 0.46 - 0.028 * (
                13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
            )
            _polygon(draw, list(zip(x.tolist(), y.tolist(), strict=True)))
        case "house":
            _polygon(draw, [(0.5, 0.04), (0.98, 0.46), (0.02, 0.46)])
            _polygon(draw, [(0.14, 0.46), (0.86, 0.46), (0.86, 0.95), (0.14, 0.95)])
        case "car":
            _polygon(draw, [(0.02, 0.48), (0.98, 0.48), (0.98, 0.74), (0.02, 0.74)])
            _polygon(draw, [(0.26, 0.26), (0.68, 0.26), (0.84, 0.5), (0.14, 0.5)])
            _ellipse(draw, 0.25, 0.74, 0.12, 0.12)
            _ellipse(draw, 0.75, 0.74, 0.12, 0.12)
        case "boat":
            _polygon(draw, [(0.04, 0.66), (0.96, 0.66), (0.76, 0.93), (0.24, 0.93)])
            _polygon(draw, [(0.47, 0.05), (0.53, 0.05), (0.53, 0.66), (0.47, 0.66)])
            _polygon(draw, [(0.53, 0.08), (0.88, 0.58), (0.53, 0.58)])
        case "fish":
            _ellipse(draw, 0.42, 0.5, 0.38, 0.27)
            _polygon(draw, [(0.7, 0.5), (0.98, 0.22), (0.98, 0.78)])
        case "mushroom":
            draw.pieslice([10, 16, 246, 250], 180, 360, fill=255)
            _polygon(draw, [(0.38, 0.5), (0.62, 0.5), (0.67, 0.96), (0.33, 0.96)])
        case "flower":
            for angle in np.arange(6) * np.pi / 3:
                _ellipse(draw, 0.5 + 0.28 * np.cos(angle), 0.5 + 0.28 * np.sin(angle), 0.19, 0.19)
            _ellipse(draw, 0.5, 0.5, 0.2, 0.2)
        case "cup":
            _ellipse(draw, 0.76, 0.5, 0.21, 0.21)
            _ellipse(draw, 0.76, 0.5, 0.11, 0.11, fill=0)
            _polygon(draw, [(0.08, 0.16), (0.74, 0.16), (0.64, 0.92), (0.18, 0.92)])
        case "kite":
            _polygon(draw, [(0.5, 0.02), (0.86, 0.36), (0.5, 0.78), (0.14, 0.36)])
            _polygon(draw, [(0.5, 0.74), (0.64, 0.97), (0.36, 0.97)])
        case "dome":
            draw.pieslice([6, 34, 250, 430], 180, 360, fill=255)


@cache
def _silhouette(shape: str) -> tuple[Image.Image, Image.Image]:
    """Mask and shading (darker towards the outline, lighter at the upper left), both 8 bit."""
    mask = Image.new("L", (_CANVAS, _CANVAS), 0)
    _outline(shape, ImageDraw.Draw(mask))
    inner = mask.filter(ImageFilter.MinFilter(9)).filter(ImageFilter.GaussianBlur(7))
    y, x = np.mgrid[0:_CANVAS, 0:_CANVAS] / _CANVAS
    light = np.round(255 - 90 * (0.6 * x + 0.4 * y)).astype(np.uint8)
    return mask, ImageChops.multiply(Image.fromarray(light), inner.point(lambda v: 110 + v * 0.57))


def _sized(shape: str, size: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Mask, (size, size) bool, and shading, (size, size, 1) float32 in 0..1."""
    mask, shade = (part.resize((size, size), Image.Resampling.BOX) for part in _silhouette(shape))
    light = np.asarray(shade)[..., None].astype(np.float32) / np.float32(255)
    return np.asarray(mask) > 127, light


def thing(
    shape: str, color: str, pattern: str, size: int, mirrored: bool
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Mask and pixels of a coloured thing.

    Args:
        shape: one of `concepts.SHAPES`.
        color: one of `concepts.COLORS`.
        pattern: one of `concepts.PATTERNS`.
        size: side, pixels.
        mirrored: flip sideways.

    Returns:
        (size, size) bool, and (size, size, 3) float32, 0..255.
    """
    mask, light = _sized(shape, size)
    step = -1 if mirrored else 1
    return mask[:, ::step], _paint(color, pattern, size) * light[:, ::step]


def _paint(color: str, pattern: str, size: int) -> NDArray[np.float32]:
    """Surface of a coloured thing: (size, size, 3) float32, 0..255, before shading."""
    base = np.broadcast_to(np.array(COLORS[color], np.float32), (size, size, 3))
    if pattern == "plain":
        return base
    y, x = np.mgrid[0:size, 0:size]
    period = max(6, size // 5)
    if pattern == "striped":
        marks = (x + y) % period < period * 0.42
    else:
        half = period / 2
        marks = (x % period - half) ** 2 + (y % period - half) ** 2 < (0.3 * period) ** 2
    ink = np.array((45, 40, 60) if color in ("white", "yellow", "pink") else (255, 250, 235))
    return np.where(marks[..., None], ink.astype(np.float32), base)


def landmark(name: str, size: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Mask and pixels of a look-alike: `sun` and `lamp`, `tent` and `igloo` are the same.

    Args:
        name: one of `concepts.LANDMARKS`.
        size: side, pixels.

    Returns:
        (size, size) bool, and (size, size, 3) float32, 0..255.
    """
    y, x = np.mgrid[0:size, 0:size][..., None] / size - 0.5
    if name in ("sun", "lamp"):
        mask, _ = _sized("disc", size)
        glow = np.clip(1 - 1.7 * np.hypot(x, y), 0, 1)
        low, high = np.array((248, 196, 60), np.float32), np.array((255, 252, 226), np.float32)
        return mask, (low + (high - low) * glow).astype(np.float32)
    mask, light = _sized("dome", size)
    entrance = (np.hypot(x / 0.16, (y - 0.36) / 0.3) < 1) & (y < 0.5)
    seams = (np.abs(np.sin(y * 22)) < 0.16) | (np.abs(np.sin(x * 18)) < 0.12)
    shell = np.where(seams, 176, 226) * light
    pixels = np.where(entrance, 52, shell) * np.array((0.97, 1.0, 1.04))
    return mask, pixels.astype(np.float32)
