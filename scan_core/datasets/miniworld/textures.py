"""Textures of stuff: one seamless-looking tile for each, drawn once per process."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TILE = 384
Pixels = NDArray[np.float32]
_Y, _X, _ = np.ogrid[:TILE, :TILE, :1]

# Look-alikes: stuff that is drawn with another's texture.
SAME_AS = {"pool": "sea", "snow": "cloud", "rug": "carpet", "bush": "hedge"}


def _noise(rng: np.random.Generator, cells: int, aspect: float = 1.0) -> Pixels:
    """Smooth noise in 0..1 with about `cells` grains across; `aspect` > 1 stretches sideways."""
    grid = rng.random((cells, max(2, round(cells / aspect))), dtype=np.float32)
    image = Image.fromarray(np.round(grid * 255).astype(np.uint8))
    smooth = image.resize((TILE, TILE), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32)[..., None] / np.float32(255)


def _mix(low: tuple[int, int, int], high: tuple[int, int, int], weight: Pixels) -> Pixels:
    a, b = np.array(low, np.float32), np.array(high, np.float32)
    return a + (b - a) * np.clip(weight, 0, 1)


def _bricks(rng: np.random.Generator, height: int, width: int, joint: int) -> tuple[Pixels, Pixels]:
    """(joint mask, brightness of each brick), both (TILE, TILE, 1) in 0..1."""
    y, x = _Y, _X
    row = y // height
    column = (x + row % 2 * (width // 2)) // width
    tones = rng.random((TILE // height + 2, TILE // width + 3), dtype=np.float32)
    is_joint = (y % height < joint) | ((x + row % 2 * (width // 2)) % width < joint)
    return is_joint.astype(np.float32), tones[row, column]


def _draw(name: str, rng: np.random.Generator) -> Pixels:
    y, x = _Y, _X
    fine, medium, coarse = _noise(rng, 190), _noise(rng, 48), _noise(rng, 10)
    match name:
        case "sky":
            return _mix((120, 175, 235), (165, 208, 250), coarse * 0.8 + 0.2 * medium)
        case "cloud":
            return _mix((214, 222, 236), (252, 253, 255), 0.6 * coarse + 0.4 * medium)
        case "sea":
            waves = np.sin(y / 4.0 + 5 * _noise(rng, 12)) * 0.5 + 0.5
            return _mix((20, 90, 150), (80, 170, 205), 0.6 * waves + 0.4 * _noise(rng, 60, 5))
        case "sand":
            return _mix((214, 184, 130), (244, 222, 172), 0.5 * fine + 0.5 * coarse)
        case "grass":
            blades = _noise(rng, 190, 0.25)
            return _mix((46, 110, 40), (130, 185, 70), 0.65 * blades + 0.35 * coarse)
        case "road":
            return _mix((74, 76, 80), (122, 124, 128), 0.8 * fine + 0.2 * coarse)
        case "brick wall":
            joint, tone = _bricks(rng, 12, 26, 2)
            return _mix((150, 62, 44), (196, 98, 70), tone) * (1 - joint) + 205 * joint
        case "stone wall":
            joint, tone = _bricks(rng, 22, 34, 3)
            stone = _mix((118, 120, 122), (176, 176, 170), 0.6 * tone + 0.4 * medium)
            return stone * (1 - joint) + 88 * joint
        case "wood floor":
            joint, tone = _bricks(rng, 14, 96, 1)
            grain = _noise(rng, 120, 8)
            wood = _mix((140, 88, 48), (198, 142, 88), 0.5 * tone + 0.5 * grain)
            return wood * (1 - joint) + 82 * joint
        case "tile floor":
            check = ((x // 24 + y // 24) % 2).astype(np.float32)
            joint = ((x % 24 < 2) | (y % 24 < 2)).astype(np.float32)
            tiles = _mix((188, 206, 214), (238, 242, 240), check * 0.85 + 0.15 * medium)
            return tiles * (1 - joint) + 150 * joint
        case "carpet":
            weave = ((x // 3 + y // 3) % 2).astype(np.float32)
            return _mix((120, 34, 58), (172, 70, 84), 0.4 * weave + 0.4 * fine + 0.2 * coarse)
        case "hedge":
            leaves = np.clip(2.2 * _noise(rng, 70) - 0.6, 0, 1)
            return _mix((14, 58, 34), (62, 124, 62), 0.8 * leaves + 0.2 * fine)
        case "soil":
            clods = np.clip(1.8 * medium - 0.3, 0, 1)
            return _mix((74, 48, 30), (128, 90, 60), 0.6 * clods + 0.4 * fine)
        case "mountain":
            ridges = np.abs(np.sin((x + y * 0.6) / 17 + 4 * coarse))
            return _mix((96, 92, 112), (166, 160, 172), 0.6 * ridges + 0.4 * medium)
        case "curtain":
            folds = np.sin(x / 5.5 + 2 * _noise(rng, 6)) * 0.5 + 0.5
            return _mix((58, 110, 116), (140, 190, 186), 0.9 * folds + 0.1 * fine)
        case "wallpaper":
            motif = ((x + y // 24 % 2 * 12) % 24 - 12) ** 2 + (y % 24 - 12) ** 2 < 22
            return _mix((232, 218, 190), (206, 172, 132), motif * 0.9 + 0.1 * medium)
        case _:
            raise KeyError(name)


@cache
def texture(name: str) -> NDArray[np.uint8]:
    """The tile of a stuff concept.

    Args:
        name: one of `concepts.STUFF`.

    Returns:
        (TILE, TILE, 3) uint8, RGB; the same for look-alikes and in every process.
    """
    drawn = SAME_AS.get(name, name)
    rng = np.random.default_rng([7, *drawn.encode()])
    return np.round(_draw(drawn, rng).clip(0, 255)).astype(np.uint8)


def crop(name: str, height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random (height, width, 3) uint8 piece of a texture; at most TILE on a side."""
    top, left = rng.integers(TILE - height + 1), rng.integers(TILE - width + 1)
    return texture(name)[top : top + height, left : left + width]
