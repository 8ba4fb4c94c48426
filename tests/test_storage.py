"""Files are written whole, and damaged or odd ones are named, whoever made them."""

import io
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from small_models import picture_of

from scan_core.errors import InputError
from scan_core.storage.files import (
    atomic_folder,
    atomic_path,
    read_header,
    read_json,
    read_text,
    write_json,
    write_text,
)
from scan_core.storage.images import check_image, read_image
from scan_core.storage.weights import (
    load_foreign,
    load_state,
    load_tensors,
    save_state,
    save_tensors,
)

TENSORS = {"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.ones(3, dtype=torch.int64)}


def test_a_failure_leaves_what_was_there(tmp_path):
    target = tmp_path / "folder/table.csv"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    with pytest.raises(OSError, match="No space left"), atomic_path(target) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_text("anything")
    with pytest.raises(RuntimeError), atomic_folder(target.parent / "made") as temporary:
        (temporary / "file").write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]
    long = tmp_path / f"{'long' * 62}.json"
    with atomic_path(long) as first, atomic_path(long) as second:
        assert first != second
        for path in (first, second):
            path.write_text("{}")
    assert read_json(long) == {}


def test_the_next_writer_removes_the_files_of_killed_ones_alone(tmp_path):
    writer = """
import os, pathlib, signal, sys
from scan_core.storage.files import atomic_folder, atomic_path
target = pathlib.Path(sys.argv[1])
with atomic_path(target / "weights.safetensors") as file, atomic_folder(target / "model") as made:
    file.touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", writer, tmp_path], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    own, elsewhere, old = (
        tmp_path / f".{name}.tmp.json"
        for name in (f"{os.uname().nodename}-{os.getpid()}-999", "node-1-2", "node-1-3")
    )
    for path in (own, elsewhere, old):
        path.touch()
    os.utime(old, (time.time() - 90_000,) * 2)
    write_text(tmp_path / "next", "written")
    assert set(tmp_path.iterdir()) == {own, elsewhere, tmp_path / "next"}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"null", b"\xff\xfe", b"<html>", b'{"a": ' * 100_000, None],
    ids=["empty", "cut", "list", "null", "utf-16", "html", "nested", "missing"],
)
def test_bad_json_is_one_message_with_what_to_do(tmp_path, content):
    path = tmp_path / "record.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"record\.json cannot be read \(.+\); evaluate again"):
        read_json(path, "evaluate again")


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("straße\n", encoding="utf-8-sig")
    assert read_text(path) == "straße\n"
    path.write_text('{"a": 1}', encoding="utf-8-sig")
    assert read_json(path) == {"a": 1}
    path.write_bytes("straße\n".encode("latin-1"))
    with pytest.raises(
        InputError, match=r"names\.txt cannot be read .*; give the name of a file of UTF-8 text"
    ):
        read_text(path)


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_files_get_the_mode_that_the_umask_says(tmp_path, umask):
    before = os.umask(umask)
    try:
        save_tensors(tmp_path / "weights.safetensors", TENSORS, {})
        save_state(tmp_path / "state.pt", TENSORS)
        write_json(tmp_path / "record.json", {})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~umask}


def test_weights_are_read_as_written(tmp_path):
    path, header = tmp_path / "a.safetensors", {"settings": [1, "ä"]}
    saved = {**TENSORS, "tied": TENSORS["weight"]}
    save_tensors(path, saved, header)
    tensors, found = load_tensors(path)
    assert found == header
    assert tensors.keys() == saved.keys()
    assert all(torch.equal(tensors[name], saved[name]) for name in saved)
    content = path.read_bytes()
    save_tensors(path, saved, header)
    assert path.read_bytes() == content


def test_damaged_weights_are_named(tmp_path):
    path = tmp_path / "model.safetensors"
    save_tensors(path, TENSORS, {})
    whole = path.read_bytes()
    nested = len(whole).to_bytes(8, "little") + b"[" * len(whole)
    for content in (whole[:0], whole[:7], whole[:100], whole[:-1], bytes(99), nested):
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=r"model\.safetensors cannot be read .* make or copy it again"
        ):
            load_tensors(path)
    for header in ("null", "[]", "{", '{"a": ' * 100_000):
        save_file(TENSORS, path, metadata={"scan": header})
        with pytest.raises(InputError, match=r"model\.safetensors cannot be read"):
            load_tensors(path)
    state = tmp_path / "checkpoint.pt"
    for content in (b"", b"no zip", [1]):
        torch.save(content, state) if isinstance(content, list) else state.write_bytes(content)
        with pytest.raises(InputError, match=r"checkpoint\.pt .*; delete it"):
            load_state(state, "delete it")


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", ""]
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_wrappers_of_training_frameworks_are_taken_off(tmp_path, prefix, suffix):
    layer = torch.nn.Sequential(torch.nn.Linear(2, 2))
    state = {f"{prefix}{name}": tensor for name, tensor in layer.state_dict().items()}
    path = tmp_path / f"model{suffix}"
    torch.save({"model": state}, path) if suffix == ".pt" else save_file(state, path)
    assert load_foreign(path).keys() == layer.state_dict().keys()
    if suffix == ".safetensors":
        assert read_header(path, "")[0].keys() == layer.state_dict().keys(), "what `-n` looks at"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_of_a_torchscript_archive_is_said_what_it_is(tmp_path):
    path = tmp_path / "ViT-B-16.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(InputError, match=r"ViT-B-16\.pt is a TorchScript archive.*state_dict"):
        load_foreign(path)


GREY = np.linspace(0, 1, 20 * 26, dtype=np.float32).reshape(20, 26)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("float.tif", GREY),
        ("sixteen.tif", (GREY * 65535).round().astype(np.uint16)),
        ("sixteen.png", (GREY * 65535).round().astype(np.uint16)),
        ("eight.tif", (GREY * 255).round().astype(np.uint8)),
    ],
)
def test_deep_images_are_scaled_by_their_range(tmp_path, name, pixels):
    Image.fromarray(pixels).save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert np.abs(image[..., 0] - GREY * 255).max() <= 0.51
    assert (image == image[..., :1]).all()
    assert check_image(tmp_path / name) == ((26, 20), 1)


def test_the_range_that_a_file_states_counts(tmp_path):
    path = tmp_path / "stated.tif"
    Image.fromarray(GREY * 400 - 100).save(path, tiffinfo={340: -100.0, 341: 300.0})
    assert np.abs(read_image(path)[..., 0] - GREY * 255).max() <= 0.51
    Image.fromarray((GREY * 65535).astype(np.uint16)).save(path, tiffinfo={262: 0})
    assert read_image(path)[0, 0, 0] == 255, "white is zero"


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (GREY * 255, "range from 0 to 255 instead of 0 to 1"),
        (GREY - 1e-3, "range from -0.001 to"),
        (np.where(GREY > 0.5, np.nan, GREY), "range from nan to nan"),
        ((GREY * 70_000).astype(np.int32), "range from 0 to 70000 of unknown scale"),
    ],
)
def test_an_unknown_range_is_refused_by_every_reader(tmp_path, pixels, says):
    path = tmp_path / "deep.tif"
    Image.fromarray(pixels).save(path)
    for read in (read_image, check_image):
        with pytest.raises(InputError, match=rf"values of .*deep\.tif {says}.*8 bits"):
            read(path)


def test_a_jpeg_of_thousands_of_scans_is_refused_at_once(tmp_path):
    path = tmp_path / "scans.jpg"
    Image.fromarray(picture_of(400, 600)).save(path, progressive=True)
    assert read_image(path).shape == (400, 600, 3)
    content = path.read_bytes()
    last = content[content.rindex(b"\xff\xda") : -2]
    path.write_bytes(content[:-2] + last * 4000 + content[-2:])
    start = time.monotonic()
    for read in (read_image, check_image):
        with pytest.raises(InputError, match=r"scans\.jpg is a progressive JPEG of 40\d\d scans"):
            read(path)
    assert time.monotonic() - start < 1


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_images_are_named(tmp_path):
    """A few hundred damaged files of every format are read, or refused with their name."""
    random, path, refused, read = np.random.default_rng(0), tmp_path / "damaged", 0, 0
    for kind in ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "TGA", "PCX", "JPEG2000"):
        saved = io.BytesIO()
        Image.fromarray(picture_of(20, 26)).save(saved, kind)
        content = np.frombuffer(saved.getvalue(), np.uint8)
        for number in range(30):
            changed = content[: len(content) // 2 if number % 3 == 0 else None].copy()
            changed[random.integers(0, min(len(changed), 120), 4)] = random.integers(0, 256, 4)
            path.write_bytes(changed.tobytes())
            try:
                read_image(path)
            except InputError as error:
                refused += str(path) in str(error)
            else:
                read += 1
    assert refused + read == 300
    assert refused > 100
