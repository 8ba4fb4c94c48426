"""Which device to run on."""

import torch

from scan_core.errors import InputError


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
