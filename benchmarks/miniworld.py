"""Speed of the miniature world.

    python -m benchmarks.miniworld

Prints images/s of one process, drawn and compressed, as a ratio to a baseline in the same run
(noise of the same size, compressed in the same way).
"""

import argparse
import io
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

from scan_core.datasets.miniworld.captions import captioned_images
from scan_core.datasets.miniworld.scenes import draw_scene

IMAGES = 300


def compress(pixels: np.ndarray) -> None:
    """Encode as the raw layouts do."""
    Image.fromarray(pixels).save(io.BytesIO(), "JPEG", quality=95, subsampling=0)


def speed(draw: Callable[[int], np.ndarray]) -> float:
    """Images/s, after a warm-up that builds the textures."""
    for number in range(20):
        draw(number)
    start = time.perf_counter()
    for number in range(IMAGES):
        compress(draw(number))
    return IMAGES / (time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"{'picture':20} {'images/s':>9} {'noise':>9} {'ratio':>6}")
    for size in (128, 64):
        drawn = speed(partial(_scene, size))
        show(f"scene, {size} px", drawn, speed(partial(_noise, size)))
    stream = captioned_images(0, 20 + IMAGES, 48)
    show("captioned, 48 px", speed(lambda _: next(stream)[0]), speed(partial(_noise, 48)))


def show(name: str, drawn: float, noise: float) -> None:
    """Print one row."""
    print(f"{name:20} {drawn:9.0f} {noise:9.0f} {drawn / noise:6.2f}")


def _scene(size: int, number: int) -> np.ndarray:
    return draw_scene((0,), number, size).pixels


def _noise(size: int, number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)


if __name__ == "__main__":
    main()
