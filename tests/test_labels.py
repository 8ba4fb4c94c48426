"""Label maps and images of one's own: any bit depth, any value, any orientation, any ending."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from raw_data import converted, own_classes, photo, png, stripes

from scan_core.datasets.verification import verify
from scan_core.errors import InputError
from scan_core.reporting.draw import draw_sheet
from scan_core.storage.images import read_image, read_label


def own_data(folder, image="one.jpg"):
    """The places of an image and its label."""
    path = folder / "raw/images/val" / image
    photo(path)
    (folder / "raw/labels/val").mkdir(parents=True, exist_ok=True)
    return path, folder / f"raw/labels/val/{path.stem}.png"


def opened(folder, *raw_ids):
    return converted("folder", own_classes(folder, *raw_ids), folder / "raw", folder / "out")


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
    _, label = own_data(tmp_path, name)
    png(label, stripes(1, 2))
    images = opened(tmp_path, 1, 2)
    assert images.file_name(0) == name
    assert images.image(0).shape == (16, 24, 3)
