"""Label maps and images of one's own: any bit depth, any value, any orientation, any ending."""

import json
import struct
import zlib

import numpy as np
import pytest
import scipy.io
from PIL import Image
from raw_data import converted, photo, png, stripes

from scan_core.datasets.formats import FORMATS
from scan_core.datasets.verification import verify
from scan_core.errors import InputError
from scan_core.reporting.draw import draw_sheet
from scan_core.storage.images import read_image, read_label


def own_list(folder, *raw_ids):
    path = folder / "own.json"
    names = [f"class {raw_id}" for raw_id in raw_ids]
    path.write_text(json.dumps({"names": names, "raw_ids": raw_ids}))
    return path


def own_data(folder, image="one.jpg", size=(24, 16)):
    """The places of an image and its label."""
    path = folder / "raw/images/val" / image
    photo(path, *size)
    (folder / "raw/labels/val").mkdir(parents=True, exist_ok=True)
    return path, folder / f"raw/labels/val/{path.stem}.png"


def opened(folder, *raw_ids):
    return converted("folder", own_list(folder, *raw_ids), folder / "raw", folder / "out")


def grey_png(path, values, bits):
    """A grey PNG of so few bits a pixel, as optimisers write them and Pillow does not."""
    rows = [np.unpackbits(row[:, None].astype(np.uint8), axis=1)[:, -bits:] for row in values]
    lines = b"".join(b"\0" + np.packbits(row.reshape(-1)).tobytes() for row in rows)

    def chunk(kind, content):
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("palette", [False, True])
def test_values_are_read_as_they_stand_at_every_depth(tmp_path, bits, palette):
    _, label = own_data(tmp_path)
    values = np.random.default_rng(bits).integers(0, 2**bits, (16, 24), np.uint8)
    if palette:
        picture = Image.fromarray(values)
        picture.putpalette(bytes(range(256)) * 3)
        picture.save(label, bits=bits)
    else:
        grey_png(label, values, bits)
    assert np.array_equal(read_label(label), values)
    images = opened(tmp_path, *range(1, min(2**bits, 200)))
    known = (values > 0) & (values < 200)
    assert np.array_equal(images.label(0), np.where(known, values.astype(int) - 1, -1))


def test_sixteen_bits_and_any_number_are_ones_own_choice(tmp_path):
    """Only the values of a published data set are known; 255 and others do not count."""
    _, label = own_data(tmp_path)
    values = np.array([0, 255, 200, 1, 60_000, 151], np.uint16).repeat(4)[None].repeat(16, axis=0)
    png(label, values)
    images = opened(tmp_path, 200, 60_000)
    assert images.label(0)[0, ::4].tolist() == [-1, -1, 0, -1, 1, -1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once_by_every_reader(tmp_path, orientation):
    image, label = own_data(tmp_path)
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8, :12] = 255  # a corner
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(image, quality=95, exif=exif)
    upright = read_image(image)[..., 0] > 128
    png(label, np.where(upright, 1, 2).astype(np.uint8))
    images = opened(tmp_path, 1, 2)
    assert np.array_equal(images.image(0)[..., 0] > 128, upright)
    assert np.array_equal(images.label(0) == 0, upright)
    verify(tmp_path / "out/index.json", {"val": 1}, workers=1)
    draw_sheet(tmp_path / "out/index.json", tmp_path / "sheet.png")
    if orientation >= 5:
        png(label, np.ones((16, 24), np.uint8))
        with pytest.raises(InputError, match=f"EXIF orientation {orientation}, which is applied"):
            opened(tmp_path, 1, 2)


@pytest.mark.parametrize("name", ["one.jpeg", "one.JPG", "one.png", "one.webp", "one.Tiff"])
def test_images_may_be_of_any_kind(tmp_path, name):
    image, label = own_data(tmp_path, name)
    png(label, stripes(1, 2))
    (image.parent / "._one.jpg").write_bytes(b"what macOS leaves")
    images = opened(tmp_path, 1, 2)
    assert images.file_name(0) == name
    assert images.image(0).shape == (16, 24, 3)
    photo(image.with_suffix(".bmp"))
    with pytest.raises(InputError, match=r"one\.\w+ and .*one\.\w+ have the same name"):
        opened(tmp_path, 1, 2)


def test_malformed_mat_files_are_named(tmp_path):
    """Bytes of a good file, changed at random, end in a label or in a message."""
    good = tmp_path / "good.mat"
    scipy.io.savemat(good, {"LabelMap": stripes(1, 2).astype(np.uint16)})
    content, random = good.read_bytes(), np.random.default_rng(0)
    bad = tmp_path / "bad.mat"
    told = []
    for _ in range(300):
        changed = bytearray(content)
        for position in random.integers(100, len(content), 3):
            changed[position] = random.integers(256)
        bad.write_bytes(changed)
        try:
            assert FORMATS["pascal_context"].decode(bad).ndim == 2
        except InputError as error:
            told.append(str(error))
    assert told
    assert all("bad.mat" in words for words in told)


def test_a_picture_of_one_row_is_drawn(tmp_path):
    _, label = own_data(tmp_path, size=(900, 1))
    png(label, np.ones((1, 900), np.uint8))
    opened(tmp_path, 1, 2)
    draw_sheet(tmp_path / "out/index.json", tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").width > 100
