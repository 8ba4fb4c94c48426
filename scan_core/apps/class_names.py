"""Class names that a person gives: typed or read from a file, with synonyms and a background."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from scan_core.errors import InputError
from scan_core.storage.files import read_text
from scan_core.vocabulary.classes import as_clip_reads, builtin_class_lists, load_class_list

BACKGROUND = "background"
Synonyms = tuple[str, ...]


@dataclass(frozen=True)
class ClassNames:
    """What an image is segmented into.

    Attributes:
        synonyms: for each of the K classes its words, of which the first is its name.
        background: words of the background, which is class K; empty: only pixels that score too
            low belong to it; None: there is no background.
    """

    synonyms: tuple[Synonyms, ...]
    background: Synonyms | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """K names, and `background` if there is one."""
        last = () if self.background is None else (BACKGROUND,)
        return tuple(words[0] for words in self.synonyms) + last

    @property
    def groups(self) -> tuple[Synonyms, ...]:
        """The words of each class that has some, those of the background last."""
        return (*self.synonyms, *((self.background,) if self.background else ()))

    @property
    def words(self) -> tuple[str, ...]:
        """All words, class by class."""
        return tuple(word for words in self.groups for word in words)

    @property
    def owners(self) -> tuple[int, ...]:
        """For each of `words` its class."""
        return tuple(number for number, words in enumerate(self.groups) for _ in words)

    @property
    def background_id(self) -> int | None:
        """The class index of the background, if there is one."""
        return None if self.background is None else len(self.synonyms)

    @property
    def not_english(self) -> list[str]:
        """Words with letters outside ASCII: CLIP reads them, but has learned English captions."""
        return [word for word in self.words if not word.isascii()]

    def records(self) -> list[dict[str, object]]:
        """Index, name and words of each class, for JSON."""
        words = (*self.synonyms, self.background or ())
        return [
            {"id": number, "name": name, "words": list(words[number])}
            for number, name in enumerate(self.names)
        ]


def class_names(classes: str, background: str | None = None) -> ClassNames:
    """Read and check class names.

    Args:
        classes: see `parse_names`.
        background: likewise; all its words form one class, without those that are classes.

    Raises:
        InputError: no class, an empty name, an unreadable file, or a word twice, as CLIP reads it:
            see `as_clip_reads`.
    """
    found = tuple(parse_names(classes))
    if not found:
        raise InputError('no class names: expected some, such as "cat, dog, sofa | couch"')
    owners: dict[str, str] = {}
    for number, words in enumerate(found, start=1):
        for word in words:
            key = as_clip_reads(word)
            if not key:
                raise InputError(
                    f"class {number} of {len(found)} has an empty name: remove the comma or | "
                    "beside it"
                )
            if key == BACKGROUND and background is not None:
                raise InputError(
                    f"'{word}' is a class already; leave it out, or leave out the background"
                )
            if other := owners.get(key):
                where = "" if other == words[0] else f", for '{other}' and for '{words[0]}'"
                raise InputError(f"class name '{word}' is given twice{where}; take one of them out")
            owners[key] = words[0]
    if background is None:
        return ClassNames(found)
    rest = {as_clip_reads(word): word for words in parse_names(background) for word in words}
    return ClassNames(found, tuple(word for key, word in rest.items() if key and key not in owners))


def parse_names(text: str) -> list[Synonyms]:
    """Read names with their synonyms.

    Args:
        text: commas between classes and | between synonyms, as in `cat, dog, sofa | couch`;
            `@NAME`, a built-in class list; or `@FILE`, either a class list (.json) or a text file
            with one class a line, in which commas belong to the name, and lines that are empty or
            begin with # are left out.

    Raises:
        InputError: an unreadable or empty file, or an unknown list.
    """
    if not text.startswith("@"):
        names = list(map(_words, text.split(",")))
        return [] if names == [("",)] else names
    name = text[1:].strip()
    known = builtin_class_lists()
    if name.endswith(".json") or name in known:
        return [(name,) for name in load_class_list(name).names]
    if not Path(name).suffix and not Path(name).exists():
        nearest = difflib.get_close_matches(name, known, 1, 0.5)
        meant = f"; did you mean '@{nearest[0]}'?" if nearest else "."
        raise InputError(
            f"'@{name}' is neither a file nor a built-in class list{meant} Built in are "
            f"{', '.join(known)}"
        )
    content = read_text(Path(name), "expected class names in a UTF-8 text file, one a line")
    lines = [line.strip() for line in content.splitlines()]
    names = [_words(line) for line in lines if line and not line.startswith("#")]
    if not names:
        raise InputError(f"class names {name}: the file has none; expected one a line")
    return names


def _words(text: str) -> Synonyms:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"class name {text!r} is no valid Unicode; type it again") from None
    return tuple(" ".join(word.split()) for word in text.split("|"))
