"""Pickles from other people, read without running what they ask to run.

A pickle calls functions by name. Here it gets stand-ins of our own for the few that plain lists,
dictionaries and numpy arrays need. NumPy's own are not safe to hand out: an array of Python objects
made over bytes of the file takes any number in it for the address of an object.
"""

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scan_core.errors import InputError

_KINDS = "biufcSU"  # truth values, numbers, bytes, text; neither objects nor structures
_ARRAY = "numpy.ndarray"  # stands for the class, which nothing in a pickle gets hold of
_MOST_DIMENSIONS = 32


class _DType:
    """A dtype in the making: its name comes first, its byte order after that."""

    def __init__(self, name: str, *_: Any) -> None:
        self.dtype = np.dtype(_checked(name, str))
        if self.dtype.kind not in _KINDS:
            raise pickle.UnpicklingError(f"it holds an array of the dtype {self.dtype}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, *structure = state
        if any(part is not None for part in structure[:3]):
            raise pickle.UnpicklingError("it holds an array of structures")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray[Any, Any]):
    """An array that is filled once, with as many bytes as its shape takes."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        shape, data = _shape_and_data(shape, _checked(dtype, _DType), data)
        if self.size:
            raise pickle.UnpicklingError("it fills an array twice")
        checked: Any = (1, shape, dtype.dtype, bool(fortran), data)
        super().__setstate__(checked)


def _reconstruct(kind: Any, _shape: Any, _typecode: Any) -> NDArray[Any]:
    if kind is not _ARRAY:
        raise pickle.UnpicklingError("it asks for an array of a class of its own")
    return np.empty(0, np.uint8).view(_Array)


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    shape, data = _shape_and_data(shape, _checked(dtype, _DType), data)
    flat = np.frombuffer(data, dtype.dtype) if data else np.empty(0, dtype.dtype)
    return flat.reshape(shape, order="F" if order == "F" else "C").copy(order="K")


def _scalar(dtype: Any, data: Any) -> Any:
    (_, data) = _shape_and_data((1,), _checked(dtype, _DType), data)
    return np.frombuffer(data, dtype.dtype)[0]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it asks for the codec {encoding}")
    return str(_checked(text, str)).encode("latin1")


def _checked(value: Any, kind: type | tuple[type, ...]) -> Any:
    if not isinstance(value, kind):
        raise pickle.UnpicklingError(f"it has a {type(value).__name__} in the wrong place")
    return value


def _shape_and_data(shape: Any, dtype: _DType, data: Any) -> tuple[tuple[int, ...], bytes]:
    shape = _checked(shape, tuple)
    if len(shape) > _MOST_DIMENSIONS or any(type(n) is not int or n < 0 for n in shape):
        raise pickle.UnpicklingError("it holds an array of an impossible shape")
    data = bytes(_checked(data, (bytes, bytearray)))
    if math.prod(shape) * dtype.dtype.itemsize != len(data):
        raise pickle.UnpicklingError("it holds an array with more or fewer bytes than its shape")
    return shape, data


_STAND_INS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): dict,
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _ARRAY,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): lambda: b"",
}
for _core in ("numpy.core", "numpy._core"):
    _STAND_INS[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _STAND_INS[f"{_core}.multiarray", "scalar"] = _scalar
    _STAND_INS[f"{_core}.numeric", "_frombuffer"] = _from_buffer


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _STAND_INS[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}") from None


def load_plain_pickle(path: Path) -> Any:
    """Load a pickle of plain containers, numbers, strings and numpy arrays of these.

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
