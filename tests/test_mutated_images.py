"""Twenty thousand damaged images: each is read, or refused with a message that names it."""

import warnings
from collections import Counter
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from small_models import picture_of

from scan_core.errors import InputError
from scan_core.storage.images import check_image, image_size, read_image, read_label

IMAGES = 20_000
# Format, mode, options of saving.
KINDS = [
    ("JPEG", "RGB", {"quality": 80}), ("JPEG", "L", {}), ("JPEG", "CMYK", {}),
    ("JPEG", "RGB", {"progressive": True}), ("JPEG", "RGB", {"exif": True}),
    ("PNG", "RGB", {}), ("PNG", "RGBA", {}), ("PNG", "P", {}), ("PNG", "I;16", {}),
    ("PNG", "1", {}), ("PNG", "LA", {}), ("PNG", "RGB", {"exif": True}),
    ("TIFF", "RGB", {}), ("TIFF", "RGB", {"compression": "tiff_lzw"}), ("TIFF", "F", {}),
    ("TIFF", "RGB", {"compression": "jpeg"}), ("TIFF", "1", {"compression": "group4"}),
    ("WEBP", "RGB", {}), ("WEBP", "RGBA", {"lossless": True}), ("GIF", "P", {}),
    ("BMP", "RGB", {}), ("BMP", "P", {}), ("PPM", "RGB", {}), ("PPM", "L", {}),
    ("TGA", "RGB", {"compression": "tga_rle"}), ("PCX", "P", {}), ("SGI", "RGB", {}),
    ("JPEG2000", "RGB", {}), ("AVIF", "RGB", {}), ("DIB", "RGB", {}),
]  # fmt: skip


def originals():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "a camera", 72.5
    picture = Image.fromarray(picture_of(20, 26))
    for kind, mode, options in KINDS:
        chosen = dict(options)
        if chosen.pop("exif", False):
            chosen["exif"] = exif.tobytes()
        converted = picture.convert("L").convert(mode) if mode in ("I;16", "F") else None
        saved = BytesIO()
        (converted or picture.convert(mode)).save(saved, kind, **chosen)
        yield kind, saved.getvalue()


def mutated(content, random):
    """The bytes with a few changed, a piece cut off, taken out, doubled, or of another number."""
    changed = bytearray(content)
    # Headers have most to say, and take the smallest part.
    end = len(changed) if random.random() < 0.5 else min(len(changed), 120)
    for position in random.integers(0, end, random.integers(1, 6)):
        changed[position] = random.integers(256)
    place, length = random.integers(0, len(changed)), random.integers(1, 64)
    match random.integers(6):
        case 0:
            return bytes(changed[:place])
        case 1:
            return bytes(changed[:place] + changed[place + length :])
        case 2:
            return bytes(changed[: place + length] + changed[place:])
        case 3:
            changed[place : place + 4] = random.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"])
    return bytes(changed)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_no_damage_ends_in_anything_but_a_message(tmp_path, capsys):
    random = np.random.default_rng(2024)
    files = list(originals())
    path = tmp_path / "mutated"
    came = Counter()
    readers = (read_image, check_image, image_size, read_label)
    for number in range(IMAGES):
        kind, content = files[number % len(files)]
        path.write_bytes(mutated(content, random))
        reader = readers[0] if number % 4 else readers[number // 4 % len(readers)]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reader(path)
            came[kind, "read"] += 1
        except InputError as error:
            came[kind, "refused" if str(path) in str(error) else "refused without its name"] += 1
    with capsys.disabled():
        tried, read = sum(came.values()), sum(n for (_, how), n in came.items() if how == "read")
        print(f"\n{tried} tried: {read} read, {tried - read} refused with a message, 0 failed")
    assert tried == IMAGES
    for kind, _ in files:
        assert came[kind, "read"], kind
        assert came[kind, "refused"], kind
        assert not came[kind, "refused without its name"], kind
