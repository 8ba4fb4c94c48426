"""Image files and label maps, read in one place: bounded, upright, and plain about what is wrong.

Files come from anywhere. So only a regular file is opened, only by the decoders named here (Pillow
knows some that start other programs), only up to a number of pixels; and whatever a decoder raises
becomes an `InputError` that names the file.
"""

import hashlib
import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from scan_core.errors import InputError

_log = logging.getLogger(__name__)

ImageLike = str | Path | Image.Image | NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "AVIF", "TIFF", "JPEG2000", "PPM",
           "TGA", "PCX", "SGI")  # fmt: skip
MOST_PIXELS = 150_000_000  # of an image; decoded it takes 4 to 8 bytes each
_ORIENTATION = 0x0112  # EXIF tag
# What has to be done to a picture so that it stands upright, by the tag's value.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow stretches grey of few bits to 0..255: by what it multiplies.
_STRETCHED = {1: 1, 2: 85, 4: 17, 8: 1, 16: 1}
_GREY = 0  # PNG's colour type


@dataclass(frozen=True)
class _Words:
    """What is said of an image that cannot be read."""

    missing: str
    unknown: str
    damaged: str


_SHOWN = _Words(
    "image {} does not exist",
    "{} is no image, or of a kind that is not read; convert it to JPEG or PNG",
    "image {} is damaged: {}",
)
_RAW = _Words(
    "{} is missing; extract or copy the raw data again",
    "{} is corrupt or truncated, or no image that is read; extract or copy it again",
    "{} is corrupt or truncated ({}); extract or copy it again",
)


def suffixes() -> frozenset[str]:
    """The endings, in small letters, of file names that `read_image` reads."""
    known = Image.registered_extensions().items()
    # MPO: JPEGs of some cameras, with a second picture.
    return frozenset(suffix for suffix, name in known if name in (*FORMATS, "MPO"))


def check_name(path: Path) -> None:
    """Refuse a file whose name is bytes but no text: results and lists could not name it.

    Raises:
        InputError: its name is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        name = str(path).encode(errors="backslashreplace").decode()
        raise InputError(f"{name}: the file's name is not UTF-8; rename the file") from None


def read_image(
    image: ImageLike,
    most_pixels: int = MOST_PIXELS,
    formats: Sequence[str] = FORMATS,
    sha256: str = "",
    warn: Callable[[str], object] = _log.warning,
) -> NDArray[np.uint8]:
    """An image as upright RGB, whatever it is: grey, with alpha, with a palette, 16 bits deep.

    Transparency is dropped, not blended. The orientation that a camera wrote is applied.

    Args:
        image: a file, a Pillow image, or an array (H, W, 3) of RGB.
        most_pixels: larger ones are refused before they are decoded.
        formats: of a file, by Pillow's names.
        sha256: that the file must have, hexadecimal; empty: any. Decoders notice few changed bits.
        warn: is told where it is not known which way up an image is; it is then taken as it is.

    Returns:
        (H, W, 3) uint8.

    Raises:
        InputError: no image, a damaged or a larger one, or an array of another shape or type.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InputError(
                f"an image array must be uint8 of shape (height, width, 3), RGB; this one is "
                f"{image.dtype} of shape {image.shape}"
            )
        return image
    if isinstance(image, Image.Image):
        with _told("this image", _SHOWN):
            return _as_rgb(image, "this image", warn)
    path = Path(image)
    with _told(path, _SHOWN), _opened(path, formats, most_pixels, sha256) as opened:
        return _as_rgb(opened, path, warn)


def check_image(path: Path) -> tuple[tuple[int, int], int]:
    """Decode an image of a data set to find damage, at a third of `read_image`'s cost for a JPEG.

    Returns:
        its size upright, (width, height) in pixels, and the EXIF orientation that makes it so: 1
        if it stands upright in the file.

    Raises:
        InputError: see `read_image`.
    """
    with _told(path, _RAW), _opened(path, FORMATS, MOST_PIXELS) as image:
        width, height = image.size
        # An eighth of the resolution reads every byte.
        image.draft(None, (max(width // 8, 1), max(height // 8, 1)))
        orientation = _orientation(image, path, _log.warning)
        image.load()
        return ((height, width) if orientation >= 5 else (width, height)), orientation


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image of a data set, upright, from its header alone.

    Raises:
        InputError: see `read_image`.
    """
    with _told(path, _RAW), _opened(path, FORMATS, MOST_PIXELS) as image:
        turned = _orientation(image, path, lambda text: None) >= 5  # told by who reads the pixels
        return image.size[::-1] if turned else image.size


def read_label(path: Path, sha256: str = "") -> NDArray[np.integer]:
    """The values of a label map as they stand in a PNG: of 1 to 16 bits, grey or with a palette.

    Args:
        path: of a PNG.
        sha256: that the file must have, hexadecimal; empty: any.

    Returns:
        (H, W) uint8 or uint16, not stretched to a range; of an RGB PNG, (H, W, 3) uint8.

    Raises:
        InputError: missing, no PNG, larger than `MOST_PIXELS`, or damaged: checksums are compared.
    """
    with _told(path, _RAW):
        with _regular_file(path) as file:
            content = _checked_content(path, file, sha256)
        with Image.open(BytesIO(content), formats=("PNG",)) as image:
            _check_size(path, image, MOST_PIXELS)
            image.verify()  # the checksums, which decoding alone does not compare
        with Image.open(BytesIO(content), formats=("PNG",)) as image:
            values = np.asarray(image)
        depth, color_type = content[24], content[25]
        values = values.astype(np.uint8) if values.dtype == np.bool_ else values
        return values // _STRETCHED[depth] if color_type == _GREY else values


@contextmanager
def _opened(
    path: Path, formats: Sequence[str], most_pixels: int, sha256: str = ""
) -> Iterator[Image.Image]:
    with _regular_file(path) as file:
        source = BytesIO(_checked_content(path, file, sha256)) if sha256 else file
        with Image.open(source, formats=list(formats)) as image:
            _check_size(path, image, most_pixels)
            yield image


def _checked_content(path: Path, file: IO[bytes], sha256: str) -> bytes:
    content = file.read()
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(
            f"{path} cannot be read: it is not the file that it was when its index was written"
        )
    return content


@contextmanager
def _regular_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, and nothing else: a pipe would keep its reader waiting for ever."""
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise InputError(f"{path} is no image: it is no regular file")
        yield file


def _check_size(path: Path, image: Image.Image, most: int) -> None:
    if image.width * image.height > most:
        raise InputError(
            f"image {path} has {image.width} x {image.height} pixels, more than the "
            f"{most / 1e6:.0f} million that are read; make it smaller, or cut it up"
        )


def _orientation(image: Image.Image, name: Path | str, warn: Callable[[str], object]) -> int:
    """The EXIF orientation that is still to be applied, 1 to 8."""
    if image.format == "TIFF":
        return 1  # Pillow turns these itself
    try:
        exif = image.getexif()
        value = exif.get(_ORIENTATION)
        if value not in _TURNS:
            if value is None and _is_cut(image.info.get("exif", b"")):
                warn(
                    f"{name}: its EXIF data is damaged and does not say which way up the image is; "
                    "it is taken as it is"
                )
            return 1
        exif.tobytes()  # raises where what stands around it is damaged: then it may be, too
        return int(value)
    except Exception as error:
        raise ValueError(
            f"its EXIF data, which says which way up it is, cannot be read ({error})"
        ) from None


def _is_cut(exif: bytes) -> bool:
    """Whether a list of EXIF tags is not all there; Pillow takes the tags that are."""
    tiff = exif.removeprefix(b"Exif\0\0")
    if not tiff:
        return False
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"
    start = int.from_bytes(tiff[4:8], order)
    count = int.from_bytes(tiff[start : start + 2], order)
    return tiff[:2] not in (b"II", b"MM") or len(tiff) < start + 2 + 12 * count


def _as_rgb(
    image: Image.Image, name: Path | str, warn: Callable[[str], object]
) -> NDArray[np.uint8]:
    image.load()
    if (orientation := _orientation(image, name, warn)) in _TURNS:
        image = image.transpose(_TURNS[orientation])
    if image.mode.startswith(("I", "F")):
        # Pillow clips 16-bit grey to 8 bits; what is meant is the upper byte.
        grey = np.nan_to_num(np.asarray(image).astype(np.float64))
        if image.mode.startswith("I"):
            grey = grey / 257
        byte = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
        return np.repeat(byte[..., None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


@contextmanager
def _told(name: Path | str, words: _Words) -> Iterator[None]:
    """Say what a decoder raises, which can be anything, as an error that names the image."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(words.missing.format(name)) from None
    except UnidentifiedImageError:
        raise InputError(words.unknown.format(name)) from None
    except Image.DecompressionBombError:
        raise InputError(
            f"{name} has more than the {MOST_PIXELS / 1e6:.0f} million pixels that are read; make "
            "it smaller, or cut it up"
        ) from None
    except MemoryError:
        raise InputError(f"{name} needs more memory than there is; make it smaller") from None
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(words.damaged.format(name, reason)) from None
