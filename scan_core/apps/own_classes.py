"""Class names of one's own: typed or from a file, with synonyms, and with a background."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scan_core.errors import InputError
from scan_core.vocabulary.classes import (
    DATA_FOLDER,
    as_clip_reads,
    builtin_class_lists,
    load_class_list,
)

BACKGROUND = "background"
Synonyms = tuple[str, ...]


@dataclass(frozen=True)
class OwnClasses:
    """What an image is to be segmented into.

    Attributes:
        synonyms: for each of the K classes its words, of which the first is its name.
        background: words of the background, which is class K; empty: only what scores too low
            belongs to it; None: there is no background.
    """

    synonyms: tuple[Synonyms, ...]
    background: Synonyms | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """K names, and `background` if there is one."""
        last = () if self.background is None else (BACKGROUND,)
        return tuple(words[0] for words in self.synonyms) + last

    @property
    def words(self) -> tuple[str, ...]:
        """All words, class by class."""
        return tuple(word for words in self._all for word in words)

    @property
    def owners(self) -> tuple[int, ...]:
        """For each of `words` its class."""
        return tuple(number for number, words in enumerate(self._all) for _ in words)

    @property
    def background_id(self) -> int | None:
        """The number of the background, if there is one."""
        return None if self.background is None else len(self.synonyms)

    @property
    def _all(self) -> tuple[Synonyms, ...]:
        return (*self.synonyms, *((self.background,) if self.background else ()))


def own_classes(
    classes: Iterable[Synonyms], background: Iterable[Synonyms] | None = None
) -> OwnClasses:
    """Check classes and put them together.

    Args:
        classes: from `parse_classes`.
        background: likewise; all its words are one class. Words that are classes are left out.

    Raises:
        InputError: no class, an empty name, or a word twice, as CLIP reads it: see
            `as_clip_reads`.
    """
    found = tuple(classes)
    if not found:
        raise InputError('no class names: expected some, such as "cat, dog, sofa | couch"')
    owners: dict[str, str] = {}
    for owned, words in enumerate(found):
        for word in words:
            if not word:
                raise InputError(
                    f"class {owned + 1} of {len(found)} has an empty name: remove the comma or | "
                    "beside it"
                )
            if as_clip_reads(word) == BACKGROUND and background is not None:
                raise InputError(
                    f"'{word}' is a class already; leave it out, or leave out the background"
                )
            if as_clip_reads(word) in owners:
                other = owners[as_clip_reads(word)]
                where = "" if other == words[0] else f", for '{other}' and for '{words[0]}'"
                raise InputError(f"class name '{word}' is given twice{where}; take one of them out")
            owners[as_clip_reads(word)] = words[0]
    if background is None:
        return OwnClasses(found)
    rest = {as_clip_reads(word): word for words in background for word in words if word}
    return OwnClasses(found, tuple(word for key, word in rest.items() if key not in owners))


def parse_classes(text: str) -> list[Synonyms]:
    """Read class names.

    Args:
        text: names with commas between them, and | between synonyms: `cat, dog, sofa | couch`;
            or `@FILE`, see `read_classes`; or `@NAME` with the name of a built-in class list.

    Raises:
        InputError: an unreadable file.
    """
    if text.startswith("@"):
        name = text[1:].strip()
        if name.endswith(".json") or (DATA_FOLDER / f"{name}.json").is_file():
            return [(name,) for name in load_class_list(name).names]
        if not Path(name).suffix and not Path(name).exists():
            known = builtin_class_lists()
            nearest = difflib.get_close_matches(name, known, 1, 0.5)
            meant = f"; did you mean '@{nearest[0]}'?" if nearest else "."
            raise InputError(
                f"'@{name}' is neither a file nor a built-in class list{meant} Built in are "
                f"{', '.join(known)}"
            )
        return read_classes(Path(name))
    names = [_words(part) for part in text.split(",")]
    return [] if names == [("",)] else names


def read_classes(path: Path) -> list[Synonyms]:
    """Read a file with one class a line and | between synonyms; commas belong to the name.

    Empty lines, and those that begin with #, are left out.

    Raises:
        InputError: unreadable, no text, or no class in it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"class names {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"class names {path}: expected a text file in UTF-8") from None
    lines = [line.strip() for line in text.splitlines()]
    names = [_words(line) for line in lines if line and not line.startswith("#")]
    if not names:
        raise InputError(f"class names {path}: the file has none; expected one a line")
    return names


def foreign_words(words: Sequence[str]) -> list[str]:
    """Words with other letters than those of English.

    CLIP reads any text, but has learned from English captions.
    """
    return [word for word in words if not word.isascii()]


def _words(text: str) -> Synonyms:
    return tuple(" ".join(word.split()) for word in text.split("|"))
