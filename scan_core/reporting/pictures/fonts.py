"""Fonts in which names of any language can be written on pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from PIL import ImageFont

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

_LATIN = 0x24F  # what Pillow's own font has glyphs for


@dataclass(frozen=True)
class Lettering:
    """A font, and the letters in it.

    Attributes:
        path: of the font; None for Pillow's own.
        letters: that it has glyphs for; of Pillow's own, all up to Latin Extended-B.
    """

    path: str | None
    letters: frozenset[int]

    def can_write(self, name: str) -> bool:
        """Whether there is a glyph for every letter of the name."""
        return all(ord(letter) in self.letters for letter in name)

    def written(self, names: Sequence[str]) -> list[str]:
        """The names as they can be written: the class's number instead where glyphs lack."""
        return [
            name if self.can_write(name) else f"class {number}" for number, name in enumerate(names)
        ]

    def font(self, size: int) -> Font:
        """The font, `size` pixels high."""
        if self.path is None:
            return ImageFont.load_default(size=size)
        return ImageFont.truetype(self.path, size)


def lettering_for(names: Sequence[str]) -> Lettering:
    """The font for names: Pillow's own if it can write all, or else the one that can write most.

    Looked through are DejaVu, which comes with Matplotlib, and the fonts of this machine.

    Args:
        names: to be written.
    """
    best, most = None, -1
    for lettering in _all_letterings():
        count = sum(map(lettering.can_write, names))
        if count > most:
            best, most = lettering, count
        if count == len(names):
            break
    assert best is not None
    return best


def _all_letterings() -> Iterator[Lettering]:
    yield Lettering(None, frozenset(range(_LATIN + 1)))
    try:
        from matplotlib.font_manager import findfont, fontManager
    except ImportError:
        return
    yield _lettering(findfont("DejaVu Sans"))
    for font in sorted(fontManager.ttflist, key=lambda font: (font.name, font.style, font.weight)):
        if font.style == "normal" and not font.name.startswith("Last Resort"):  # no letters, frames
            yield _lettering(font.fname)


@cache
def _lettering(path: str) -> Lettering:
    from matplotlib.ft2font import FT2Font

    try:
        return Lettering(path, frozenset(FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):  # Matplotlib's list may be older than the fonts.
        return Lettering(path, frozenset())
