"""Where networks run, and in which arithmetic: TF32 on GPUs, CLIP on crops in half precision."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch

from scan_core.errors import InputError
from scan_core.models.clip import ImageTower, lower_precision
from scan_core.params.settings import Precision

_STORED: dict[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def chosen_device(name: str) -> str:
    """A device's name, `auto` resolved to a GPU if there is one.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device '{name}' cannot be used: {reason}") from None
    return name


def stored_dtype(precision: Precision) -> torch.dtype:
    """In which the weights of CLIP's blocks are kept while they look at crops."""
    return _STORED.get(precision, torch.float32)


def tower_in(visual: ImageTower, precision: Precision) -> ImageTower:
    """CLIP's image tower whose matrix products run in a precision's arithmetic.

    In a lower one it is a copy: the tower itself stays as it is, so that a model can be saved,
    trained and asked in another precision whatever it was asked before.

    Args:
        visual: the tower in float32. Its weights must not change afterwards.
        precision: of the products.
    """
    dtype = stored_dtype(precision)
    if dtype == torch.float32:
        return visual
    copy = deepcopy(visual).requires_grad_(False)
    lower_precision(copy, dtype)
    return copy


@contextmanager
def tensor_float(precision: Precision) -> Iterator[None]:
    """Whether matrix products and convolutions in float32 may use a GPU's TF32, until it ends.

    With `float32` they may not. PyTorch's own default allows it in convolutions alone.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision != "float32"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
