"""PyTorch's ways to resize arrays, in NumPy: pixels are squares, their centres what is aligned.

Positions are computed in float32, as PyTorch does, so that the nearest pixel is the same one.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

_CUBIC = -0.75  # PyTorch's parameter of the cubic kernel


def linear_places(source: int, target: int) -> tuple[Places, Places, Floats]:
    """Where a row of `target` pixels lies among one of `source` pixels.

    Returns:
        for each its neighbours before and after, and how far it is on the way to the latter, 0..1.
    """
    position = np.maximum(_positions(source, target), 0)
    before = np.minimum(position.astype(np.int64), source - 1)
    after = np.minimum(before + 1, source - 1)
    return before, after, np.minimum(position - before, 1).astype(np.float32)


def resize_linear(x: Floats, length: int, axis: int) -> Floats:
    """Linear interpolation along an axis, without antialiasing."""
    if x.shape[axis] == length:
        return x
    before, after, fraction = linear_places(x.shape[axis], length)
    start = x.take(before, axis)
    way = x.take(after, axis)
    way -= start
    way *= _along(fraction, x.ndim, axis)
    way += start
    return way


def resize_bilinear(x: Floats, size: tuple[int, int]) -> Floats:
    """(..., H, W) to (..., *size), without antialiasing."""
    return resize_linear(resize_linear(x, size[0], -2), size[1], -1)


def resize_antialiased(x: Floats, size: tuple[int, int]) -> Floats:
    """(..., H, W) to (..., *size), bilinear; what becomes smaller is averaged."""
    rows, columns = (
        _triangles(source, target) for source, target in zip(x.shape[-2:], size, strict=True)
    )
    result: Floats = rows @ (x @ columns.T)
    return result


def resize_bicubic(x: Floats, size: tuple[int, int]) -> Floats:
    """(..., H, W) to (..., *size), without antialiasing; the border pixels go on outside."""
    for axis, length in ((-2, size[0]), (-1, size[1])):
        source = x.shape[axis]
        position = _positions(source, length)
        start = np.floor(position)
        t = position - start
        taps = (_outer(t + 1), _inner(t), _inner(1 - t), _outer(2 - t))
        resized: Floats = np.zeros(1, np.float32)
        for step, weight in enumerate(taps, start=-1):
            place = np.clip(start.astype(np.int64) + step, 0, source - 1)
            resized = resized + x.take(place, axis) * _along(weight, x.ndim, axis)
        x = resized
    return x


def nearest_places(source: int, target: int) -> Places:
    """For each of `target` pixels the nearest one of `source` pixels, as PyTorch's `nearest`."""
    scale = np.float32(source) / np.float32(target)
    return np.minimum((np.arange(target, dtype=np.float32) * scale).astype(np.int64), source - 1)


def _positions(source: int, target: int) -> Floats:
    scale = np.float32(source) / np.float32(target)
    return scale * (np.arange(target, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)


def _along(weights: Floats, dimensions: int, axis: int) -> Floats:
    shape = [1] * dimensions
    shape[axis] = -1
    return weights.reshape(shape)


def _inner(t: Floats) -> Floats:
    """The cubic kernel at a distance of at most 1."""
    return (((_CUBIC + 2) * t - (_CUBIC + 3)) * t * t + 1).astype(np.float32)


def _outer(t: Floats) -> Floats:
    """The cubic kernel at a distance from 1 to 2."""
    return (((t - 5) * t + 8) * t * _CUBIC - 4 * _CUBIC).astype(np.float32)


def _triangles(source: int, target: int) -> Floats:
    """(target, source): the share of every pixel in every resized one."""
    scale = source / target
    reach = max(scale, 1.0)
    centres = scale * (np.arange(target) + 0.5)
    first = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    end = np.minimum((centres + reach + 0.5).astype(np.int64), source)
    place = np.arange(source)
    weights = np.maximum(1 - np.abs((place + 0.5 - centres[:, None]) / reach), 0)
    weights *= (place >= first[:, None]) & (place < end[:, None])
    shares: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
