"""Files of NumPy arrays, read with one message for whatever is wrong with them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scan_core.errors import InputError


def load_arrays(path: Path, remedy: str) -> dict[str, NDArray[Any]]:
    """Read all arrays of a `.npz` file; the checksums in it are compared.

    Args:
        path: the file.
        remedy: what to do about a damaged one, for the message.

    Raises:
        InputError: missing or damaged.
    """
    try:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # of the archive, its compression, the arrays' headers, memory, ...
        raise InputError(f"{path} cannot be read ({error}); {remedy}") from None
