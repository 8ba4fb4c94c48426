"""Images and label maps are read here, by every command and every stage alike.

Only regular files are opened, only by the decoders named here (Pillow knows some that start other
programs), and only up to a number of pixels.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from scan_core.errors import InputError

ImageLike = str | Path | Image.Image | NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "AVIF", "TIFF", "JPEG2000", "PPM",
           "TGA", "PCX", "SGI")  # fmt: skip
MOST_PIXELS = 150_000_000  # of an image; decoded it takes 4 to 8 bytes each
# Each scan of a progressive JPEG passes over all pixels. Encoders write about ten; libtiff allows
# as many as this.
_MOST_SCANS = 100
# Pillow stretches grey of few bits to 0..255: by what it multiplies.
_STRETCHED = {1: 1, 2: 85, 4: 17, 8: 1, 16: 1}
_GREY = 0  # PNG's colour type
# Tags of TIFF (numbers of the TIFF 6.0 specification).
_BITS, _PHOTOMETRIC, _LOWEST, _HIGHEST = 258, 262, 340, 341
_WHITE_IS_ZERO = 0


def suffixes() -> frozenset[str]:
    """The suffixes, in lower case, of file names that `read_image` reads."""
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
    image: ImageLike | bytes,
    most_pixels: int = MOST_PIXELS,
    formats: Sequence[str] = FORMATS,
    sha256: str = "",
) -> NDArray[np.uint8]:
    """An image as upright RGB: grey, with a palette, with alpha (dropped, not blended), 16 bits.

    EXIF orientation is applied. Grey of 12 or 16 bits is scaled to 8, and floating-point grey from
    the range that the file states, or from 0..1.

    Args:
        image: a file, its content, a Pillow image, or an array (H, W, 3) uint8.
        most_pixels: larger images are refused before they are decoded.
        formats: of a file, by Pillow's names.
        sha256: that the file must have, hexadecimal; empty: any.

    Returns:
        (H, W, 3) uint8.

    Raises:
        InputError: no image, damaged, too large, or with values outside its range.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InputError(
                f"an image array must be uint8 of shape (height, width, 3), RGB; this one is "
                f"{image.dtype} of shape {image.shape}"
            )
        return image
    if isinstance(image, Image.Image):
        with _named_errors("this image"):
            return _as_rgb(image, "this image")
    file = image if isinstance(image, bytes) else Path(image)
    with _opened(file, formats, most_pixels, sha256) as opened:
        return _as_rgb(opened, _name(file))


def check_image(path: Path) -> tuple[tuple[int, int], int]:
    """Decode an image to find damage, at a third of `read_image`'s cost for a JPEG.

    Returns:
        its upright size, (width, height) in pixels, and the EXIF orientation, 1 to 8, that
        `read_image` applies.

    Raises:
        InputError: see `read_image`.
    """
    with _opened(path) as image:
        size, orientation = _upright_size(image), _orientation(image)
        # An eighth of the resolution reads every byte.
        image.draft(None, (max(image.width // 8, 1), max(image.height // 8, 1)))
        image.load()
        if image.mode.startswith(("I", "F")):
            _as_rgb(image, path)
        return size, orientation


def image_size(path: Path) -> tuple[int, int]:
    """Upright width and height of an image, from its header alone.

    Raises:
        InputError: see `read_image`.
    """
    with _opened(path) as image:
        return _upright_size(image)


def read_label(path: Path, sha256: str = "") -> NDArray[np.integer]:
    """The values of a PNG label map as stored: 1 to 16 bits, grey or palette indices.

    Args:
        sha256: that the file must have, hexadecimal; empty: any.

    Returns:
        (H, W) uint8 or uint16; of an RGB PNG, (H, W, 3) uint8.

    Raises:
        InputError: missing, no PNG, larger than `MOST_PIXELS`, or damaged: checksums are compared.
    """
    with _opened(path, ("PNG",), sha256=sha256) as image:
        image.verify()  # the checksums, which decoding alone does not compare
    with _opened(path, ("PNG",)) as image:
        values = np.asarray(image)
        with path.open("rb") as file:
            depth, color_type = file.read(26)[24:]
    values = values.astype(np.uint8) if values.dtype == np.bool_ else values
    return values // _STRETCHED[depth] if color_type == _GREY else values


def read_tiff(path: Path) -> NDArray[np.integer]:
    """The values of a TIFF label map, (H, W) uint8 or uint16.

    Raises:
        InputError: missing, no TIFF, larger than `MOST_PIXELS`, or damaged.
    """
    with _opened(path, ("TIFF",)) as image:
        return np.asarray(image)


@contextmanager
def _opened(
    file: Path | bytes,
    formats: Sequence[str] = FORMATS,
    most_pixels: int = MOST_PIXELS,
    sha256: str = "",
) -> Iterator[Image.Image]:
    """Open an image file; whatever Pillow raises about it becomes an `InputError`."""
    name = _name(file)
    if isinstance(file, Path) and not file.is_file():
        problem = "is no image: it is no regular file" if file.exists() else "does not exist"
        raise InputError(f"image {name} {problem}")
    with _named_errors(name):
        source = file.read_bytes() if sha256 and isinstance(file, Path) else file
        if isinstance(source, bytes) and sha256 not in ("", hashlib.sha256(source).hexdigest()):
            raise InputError(
                f"{name} cannot be read: it is not the file that it was when its index was written"
            )
        opened = BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(opened, formats=list(formats)) as image:
            if image.width * image.height > most_pixels:
                raise InputError(
                    f"{name} has {image.width} x {image.height} pixels, more than the "
                    f"{most_pixels / 1e6:.0f} million that are read; make it smaller, or cut it up"
                )
            if image.info.get("progressive"):
                content = source if isinstance(source, bytes) else source.read_bytes()
                scans = content.count(b"\xff\xda")
                if scans > _MOST_SCANS:
                    raise InputError(
                        f"{name} is a progressive JPEG of {scans} scans, which would take too "
                        f"long to decode (limit: {_MOST_SCANS}); save it again"
                    )
            yield image


def _name(file: Path | bytes) -> Path | str:
    return "the image" if isinstance(file, bytes) else file


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # Pillow rotates these itself when it decodes them
    found: Any = image.getexif().get(ExifTags.Base.Orientation)
    return int(found) if found in range(1, 9) else 1


def _upright_size(image: Image.Image) -> tuple[int, int]:
    return image.size if _orientation(image) < 5 else image.size[::-1]


def _as_rgb(image: Image.Image, name: Path | str) -> NDArray[np.uint8]:
    upright = ImageOps.exif_transpose(image)
    if not image.mode.startswith(("I", "F")):
        return np.asarray(upright.convert("RGB"))
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    if _LOWEST in tags and _HIGHEST in tags:
        low, high = np.min(tags[_LOWEST]), np.max(tags[_HIGHEST])
    elif image.mode == "F":
        low, high = 0.0, 1.0
    elif image.mode.startswith("I;16"):
        low, high = 0.0, 2.0 ** np.max(tags.get(_BITS, 16)) - 1
    else:  # 32 bits a pixel in memory; a PPM or PNG is scaled to 16 when it is decoded
        low, high = 0.0, 65535.0 if image.format in ("PPM", "PNG") else -1.0
    values = np.asarray(upright, np.float64)
    if not (low <= values.min() and values.max() <= high):  # also with NaN
        expected = f"instead of {low:g} to {high:g}" if high > low else "of unknown scale"
        raise InputError(
            f"the values of {name} range from {values.min():g} to {values.max():g} {expected}; "
            "save it with 8 bits per channel"
        )
    byte = np.rint((values - low) / (high - low) * 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts such TIFFs only up to 8 bits
        byte = 255 - byte
    return np.repeat(byte[..., None], 3, axis=2)


@contextmanager
def _named_errors(name: Path | str) -> Iterator[None]:
    """Turn what a decoder raises, which can be anything, into an error that names the image."""
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(
            f"{name} is no image, or of a kind that is not read; convert it to JPEG or PNG"
        ) from None
    except Image.DecompressionBombError:
        raise InputError(
            f"{name} has more than the {MOST_PIXELS / 1e6:.0f} million pixels that are read; make "
            "it smaller, or cut it up"
        ) from None
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"{name} is damaged, or cannot be decoded ({reason})") from None
