"""Files that changed since they were written are noticed when they are read, each with a message.

A flipped bit must not become another number in a table; a cache that is damaged is made again.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import tiny_scan

from scan_core.datasets.manifest import write_manifest
from scan_core.errors import InputError
from scan_core.evaluation.unfinished import UnfinishedShard
from scan_core.inference.scan import Scan
from scan_core.storage.records import write_record
from scan_core.storage.states import load_state, save_state
from scan_core.storage.tensors import copy_with_header, load_tensors, save_tensors

ROOT = Path(__file__).parents[1]
TENSORS = {
    "weight": torch.arange(60, dtype=torch.float32).reshape(3, 20),
    "half": torch.ones(7, dtype=torch.bfloat16),
    "scalar": torch.tensor(3.5),
    "empty": torch.zeros(0, 4),
    "counts": torch.arange(5),
}
HEADER = {"architecture": {"width": 3}, "settings": [0.4, 0.7]}


def flipped(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 1 << position % 8
    return bytes(changed)


def test_any_single_bit_of_weights_or_header_is_noticed(tmp_path):
    path = tmp_path / "model.safetensors"
    save_tensors(path, TENSORS, HEADER)
    whole = path.read_bytes()
    silent = []
    for position in range(len(whole)):
        path.write_bytes(flipped(whole, position))
        try:
            tensors, header = load_tensors(path)
        except InputError:
            continue
        # Space that fills up the table is all that may differ.
        same = header == HEADER and all(torch.equal(tensors[n], TENSORS[n]) for n in TENSORS)
        silent += [] if same and tensors.keys() == TENSORS.keys() else [position]
    assert silent == []


def test_a_header_without_a_key_is_one_message_with_the_file(tmp_path):
    """Of a checkpoint: each key, and each part of those that have some."""
    path = tmp_path / "model.safetensors"
    tiny_scan().save(path)
    tensors, header = load_tensors(path)
    needed = ("architecture", "prompts", "seed", "defects", "test_settings")
    changes = [{k: v for k, v in header.items() if k != key} for key in needed]
    changes += [{**header, key: value} for key in needed for value in (None, "x", [], {})]
    for key in ("architecture", "test_settings"):
        for part in header[key]:
            rest = {k: v for k, v in header[key].items() if k != part}
            changes.append({**header, key: rest})
    changes = [one for one in changes if one.get("defects") != {}]  # none of them
    for changed in changes:
        save_tensors(path, tensors, changed)
        with pytest.raises(InputError, match=r"model\.safetensors"):
            Scan.from_checkpoint(path)
    unfinished = UnfinishedShard(tmp_path / "unfinished.npz")
    np.savez(unfinished.path, about=np.frombuffer(b'{"labels": []}', np.uint8))
    unfinished.restore({}, [])
    assert unfinished.done == 0, "it is counted again"


def test_a_copy_with_another_header_is_as_safe(tmp_path):
    source, copy = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_tensors(source, TENSORS, HEADER)
    copy_with_header(source, copy, {"settings": "others"})
    tensors, header = load_tensors(copy)
    assert header == {"settings": "others"}
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    whole = source.read_bytes()
    source.write_bytes(flipped(whole, len(whole) - 3))
    with pytest.raises(InputError, match=r"a\.safetensors is damaged"):
        copy_with_header(source, copy, {})
    assert load_tensors(copy)[1] == {"settings": "others"}


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_cut_file_of_weights_is_named(tmp_path, kept):
    path = tmp_path / "model.safetensors"
    save_tensors(path, TENSORS, HEADER)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_tensors(path)


def test_noise_in_place_of_a_file_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    for seed in range(200):
        path.write_bytes(random.Random(seed).randbytes(seed))
        with pytest.raises(InputError, match=r"model\.safetensors"):
            load_tensors(path)


def test_any_single_bit_of_a_state_is_noticed(tmp_path):
    path = tmp_path / "checkpoint.pt"
    state = {"step": 7, "module": {"weight": torch.arange(30.0)}, "python": [1, 2, 3]}
    save_state(path, state)
    whole = path.read_bytes()
    for position in range(0, len(whole), 3):
        path.write_bytes(flipped(whole, position))
        try:
            found = load_state(path, "delete it")
        except InputError:
            continue
        # What lies between the parts is read by nobody.
        assert torch.equal(found["module"].pop("weight"), state["module"]["weight"])
        assert found == {"step": 7, "module": {}, "python": [1, 2, 3]}
    for kept in range(0, len(whole), 97):
        path.write_bytes(whole[:kept])
        with pytest.raises(InputError, match=r"checkpoint\.pt is damaged .*; delete it"):
            load_state(path, "delete it")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"<html>"])
def test_a_damaged_record_is_named_with_what_to_do(tmp_path, content):
    good, bad = tmp_path / "a/verification.json", tmp_path / "b/verification.json"
    for path in (good, bad):
        write_record(path, {})
    write_manifest("generate", [], [good, bad], tmp_path / "manifest.json")
    bad.write_bytes(content)
    with pytest.raises(InputError, match=r"b/verification\.json is damaged .* made again"):
        write_manifest("generate", [], [good, bad], tmp_path / "manifest.json")
    bad.unlink()
    with pytest.raises(InputError, match=r"b/verification\.json cannot be read"):
        write_manifest("generate", [], [good, bad], tmp_path / "manifest.json")


STORE = """
import sys
from scan_core.tracking.store import STORE_ERRORS, Store, spoken
try:
    store = Store("mini")
    print(store.uri)
except STORE_ERRORS as error:
    print(spoken(error))
"""


def _open_store(folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    ran = subprocess.run(
        [sys.executable, "-c", STORE], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_runs_are_kept_in_a_folder_of_any_name(tmp_path):
    folder = tmp_path / "a?b #c%20d"
    folder.mkdir()
    _open_store(folder)
    assert (folder / "mlflow.db").stat().st_size > 10_000
    assert list(tmp_path.iterdir()) == [folder]


def test_of_a_store_that_is_garbage_is_said_to_delete_it(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(random.Random(0).randbytes(9000))
    assert f"{tmp_path / 'mlflow.db'} is damaged: delete it" in _open_store(tmp_path)
