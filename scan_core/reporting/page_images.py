"""Images within a page: never larger than they are shown, and part of the file."""

import base64
import json
from html import escape
from io import BytesIO
from pathlib import Path

from PIL import Image

from scan_core.errors import InputError

WIDEST = 1020  # pixels that the page has room for
_FIGURE_SCALE = 2 / 3  # figures are drawn with 150 dots an inch and shown with 100
_QUALITY = 88  # of pictures; figures are lossless


def figure_tag(path: Path, description: str) -> str:
    """An `img` element of a figure: lines and letters, without loss.

    Args:
        path: PNG.
        description: for those who cannot see it.

    Raises:
        InputError: the file cannot be read.
    """
    return _tag(_opened(path), _FIGURE_SCALE, description, lossless=True)


def picture_tag(path: Path, description: str, first_row: bool = False) -> str:
    """An `img` element of a picture: photographs, label maps.

    Args:
        path: PNG; where its text `rows` lists the lower ends of its rows, in pixels, the first of
            them can be shown alone.
        description: for those who cannot see it.
        first_row: leave out all rows but the first.

    Raises:
        InputError: the file cannot be read.
    """
    image = _opened(path)
    if first_row:
        lower = json.loads(image.info.get("rows", "[]")) or [image.height]
        image = image.crop((0, 0, image.width, lower[0]))
    return _tag(image, 1.0, description, lossless=False)


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as file:
            file.load()
            return file.copy()
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); make it again") from None


def _tag(image: Image.Image, scale: float, description: str, lossless: bool) -> str:
    width = min(WIDEST, round(image.width * scale))
    height = max(1, round(image.height * width / image.width))
    shown = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    contents = BytesIO()
    shown.save(contents, "WEBP", lossless=lossless, quality=_QUALITY, method=4)
    data = base64.b64encode(contents.getvalue()).decode()
    return (
        f'<img src="data:image/webp;base64,{data}" width="{width}" height="{height}" '
        f'alt="{escape(description)}">'
    )
