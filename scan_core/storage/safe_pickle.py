"""Pickles from other people, read without running what they ask to run."""

import importlib
import pickle
from pathlib import Path
from typing import Any

from scan_core.errors import InputError

# What plain lists, dictionaries and numpy arrays need, and nothing else.
_ALLOWED = {
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        name = module_name.replace("numpy.core", "numpy._core")
        return getattr(importlib.import_module(name), global_name)


def load_plain_pickle(path: Path) -> Any:
    """Load a pickle of plain containers, numbers, strings and numpy arrays.

    Raises:
        InputError: unreadable, damaged, or asking for anything else, which may be an attack.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file).load()
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is refused: {error}. Only plain containers, numbers and arrays are read; "
            "get the file from its publisher again"
        ) from None
    except Exception as error:  # damaged instructions can fail in any way
        raise InputError(f"{path} cannot be read ({error}); get it again") from None
