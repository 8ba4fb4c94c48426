"""Small tensors of numbers that are known beforehand: copied to a device once, not in every pass.

A copy to a GPU from ordinary memory waits until the GPU has done all that it was asked for.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

_Numbers = Sequence[float] | Sequence[Sequence[float]]


def constant(numbers: _Numbers, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """The tensor of some numbers. It is shared: nobody may write to it.

    Args:
        numbers: of one or two dimensions.
        device: where it lies.
        dtype: int64 for whole numbers and float32 for others, if None.
    """
    hashable = tuple(tuple(n) if isinstance(n, Sequence) else n for n in numbers)
    return _made(hashable, device, dtype)


@lru_cache(maxsize=512)
def _made(
    numbers: tuple[float | tuple[float, ...], ...], device: torch.device, dtype: torch.dtype | None
) -> Tensor:
    with torch.inference_mode(False):  # or training could not use it afterwards
        return torch.tensor(numbers, device=device, dtype=dtype)
