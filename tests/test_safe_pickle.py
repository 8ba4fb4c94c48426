"""Pickles from elsewhere: arrays as they were, and nothing that reaches memory or runs."""

import pickle
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
from project import ROOT

from scan_core.errors import InputError
from scan_core.storage.safe_pickle import load_plain_pickle

PLAIN = {
    "folder": ["a", "b"],
    "names": np.array(["x.jpg", "yy.jpg"]),
    "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "other bytes": np.arange(5, dtype=">i4"),
    "number": np.float32(2.5),
    "ordered": OrderedDict(b=1, a=2),
    "empty": np.zeros((0, 3)),
    "single": np.array(3, np.uint8),
    "flags": np.array([True, False]),
}


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_come_back_as_they_were(tmp_path, protocol):
    path = tmp_path / "index.pkl"
    path.write_bytes(pickle.dumps(PLAIN, protocol=protocol))
    found = load_plain_pickle(path)
    assert list(found) == list(PLAIN)
    for key, value in PLAIN.items():
        assert np.array_equal(found[key], value), key
        kinds = [np.asarray(each).dtype.newbyteorder("=") for each in (found[key], value)]
        assert kinds[0] == kinds[1], key


class _Reduced:
    """Pickled as a call of something."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


RECONSTRUCT = np.zeros(1).__reduce__()[0]
HOSTILE = {
    "objects over bytes": b"\x80\x04cnumpy\nndarray\n(K\x01\x85\x8c\x01OC\x08AAAAAAAAtR.",
    "the class by NEWOBJ": b"\x80\x04cnumpy\nndarray\n(K\x01\x85\x8c\x01OC\x08AAAAAAAAt\x81.",
    "object dtype": pickle.dumps(np.array([1, "a"], object)),
    "structures": pickle.dumps(np.zeros(2, [("a", "O")])),
    "dtype from objects": pickle.dumps(_Reduced(np.dtype, "O")),
    "dtype from a list": pickle.dumps(_Reduced(np.dtype, [("a", "O")])),
    "scalar of an object": pickle.dumps(
        _Reduced(np._core.multiarray.scalar, _Reduced(np.dtype, "O"), b"AAAAAAAA")
    ),
    "buffer of objects": pickle.dumps(
        _Reduced(np._core.numeric._frombuffer, b"A" * 8, _Reduced(np.dtype, "O"), (1,), "C")
    ),
    "more than its bytes": pickle.dumps(
        _Reduced(np._core.numeric._frombuffer, b"A" * 8, _Reduced(np.dtype, "u1"), (2**40,), "C")
    ),
    "negative shape": pickle.dumps(
        _Reduced(np._core.numeric._frombuffer, b"A" * 8, _Reduced(np.dtype, "u1"), (-8, -1), "C")
    ),
    "a class of its own": pickle.dumps(_Reduced(RECONSTRUCT, np.matrix, (0,), b"b")),
    "a codec": b"\x80\x02c_codecs\nencode\n(X\x01\0\0\0aX\x03\0\0\0zipt\x52.",
    "room for two thousand million": b"\x80\x02K\x01r\xff\xff\xff\x7f.",
    "a command": b"cos\nsystem\n(S'touch attacked'\ntR.",
}


def test_hostile_pickles_are_refused_by_their_name(tmp_path):
    """In a process of its own, which lives."""
    for name, content in HOSTILE.items():
        (tmp_path / f"{name}.pkl").write_bytes(content)
    program = """
import sys
from pathlib import Path
from scan_core.errors import InputError
from scan_core.storage.safe_pickle import load_plain_pickle
for path in sorted(Path(sys.argv[1]).glob("*.pkl")):
    try:
        print("READ", path.name, repr(load_plain_pickle(path)))
    except InputError as error:
        assert str(path) in str(error)
        print("refused", path.name)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [f"refused {name}.pkl" for name in sorted(HOSTILE)]
    assert not (ROOT / "attacked").exists()


def test_damage_is_a_message(tmp_path):
    content = pickle.dumps(PLAIN)
    random = np.random.default_rng(0)
    path = tmp_path / "index.pkl"
    for _ in range(300):
        changed = bytearray(content)
        for position in random.integers(0, len(content), 2):
            changed[position] = random.integers(256)
        path.write_bytes(changed)
        try:
            load_plain_pickle(path)
        except InputError:
            continue
