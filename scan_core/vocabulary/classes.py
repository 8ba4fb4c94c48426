"""Class lists: names in training-id order, raw label ids, seen flags, semantic parents.

A class list is one JSON file. The built-in ones lie in `data/` beside this module and go by
their file's stem; a list of your own is named by its path. Keys of the file:

    names         class names in training-id order, unique
    raw_ids       for each class its value in the raw label maps
    seen          optional, for each class whether the training vocabulary has it, or has it
                  in some colour (`ball` counts as seen where `red ball` is trained on)
    parents       optional, {class: [semantic parent, ...]}, the relation that SG-IoU forgives
    predict_with  optional, the class list whose names are given to the network instead
                  (VOC-20b: the 59 Context classes; an id past the last real class is background)
    source        free text
"""

import html
import json
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scan_core.errors import InputError

DATA_FOLDER = Path(__file__).parent / "data"
_MOST_RAW_ID = 2**24 - 1  # of three bytes, as colours code them
_FORMER = "fathers"
_KEYS = {"names", "raw_ids", "seen", "parents", _FORMER, "predict_with", "source"}


@dataclass(frozen=True)
class ClassList:
    """One vocabulary: K classes, whose training ids are 0..K-1.

    Attributes:
        name: the file's stem.
        names: K class names.
        raw_ids: K raw label values.
        seen: K flags, or None where the notion does not apply.
        parents: training id of a class -> training ids of its semantic parents. A relation,
            not a tree: pairs may point both ways.
        predict_with: class list to predict with, or None for this one.
        built_in: whether it comes with the package and is that of a published data set.
    """

    name: str
    names: tuple[str, ...]
    raw_ids: tuple[int, ...]
    seen: tuple[bool, ...] | None
    parents: dict[int, tuple[int, ...]]
    predict_with: str | None
    built_in: bool = False

    def __len__(self) -> int:
        return len(self.names)

    @property
    def label_dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Pixel type of converted label maps: uint8 while K classes and the ignore value fit."""
        return np.uint8 if len(self) <= 255 else np.uint16

    @property
    def ignore_label(self) -> int:
        """Pixel value without ground truth: 255 in uint8 maps, 65535 in uint16 maps."""
        return int(np.iinfo(self.label_dtype).max)

    def lookup_table(self, size: int) -> NDArray[np.unsignedinteger[Any]]:
        """Map raw label values to training ids.

        Args:
            size: number of raw values, 0..size-1.

        Returns:
            array (size,) of `label_dtype`: the training id, or `ignore_label` where the raw
            value belongs to no class of this list.
        """
        table = np.full(size, self.ignore_label, dtype=self.label_dtype)
        table[list(self.raw_ids)] = np.arange(len(self), dtype=self.label_dtype)
        return table

    def training_ids(self, raw: NDArray[np.integer[Any]]) -> NDArray[np.unsignedinteger[Any]]:
        """Raw label values of any range as training ids.

        Returns:
            an array of the same shape, of `label_dtype`: the training id, or `ignore_label` where
            the raw value belongs to no class of this list.
        """
        stranger = max(self.raw_ids) + 1
        known = (raw >= 0) & (raw < stranger)
        return np.take(self.lookup_table(stranger + 1), np.where(known, raw, stranger))


def builtin_class_lists() -> list[str]:
    """Names of the class lists that come with the package, sorted."""
    return sorted(path.stem for path in DATA_FOLDER.glob("*.json"))


def as_clip_reads(name: str) -> str:
    """A name without what CLIP's tokenizer does not see.

    These are large letters, the number of spaces, and how a letter is encoded. The tokenizer
    itself, which is slow to import, is asked again where names are embedded.
    """
    return " ".join(html.unescape(unicodedata.normalize("NFKC", name)).lower().split())


def load_class_list(name_or_path: str) -> ClassList:
    """Load a class list by its built-in name or from a JSON file.

    Args:
        name_or_path: `ade20k_150`, or a path ending in `.json`.

    Raises:
        InputError: unknown name, unreadable file, or contents that do not fit together.
    """
    if name_or_path.endswith(".json"):
        path = Path(name_or_path)
    else:
        path = DATA_FOLDER / f"{name_or_path}.json"
        if not path.is_file():
            raise InputError(
                f"class list '{name_or_path}' is unknown; built in are "
                f"{', '.join(builtin_class_lists())}. A list of your own is named by the path "
                "of its .json file."
            )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"class list {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"class list {path} is not valid JSON: {error}") from None
    return _checked(path, record)


def _checked(path: Path, record: Any) -> ClassList:
    def refuse(problem: str) -> InputError:
        return InputError(f"class list {path}: {problem}")

    if not isinstance(record, dict) or not {"names", "raw_ids"} <= record.keys():
        raise refuse("expected an object with at least the keys 'names' and 'raw_ids'")
    if unknown := record.keys() - _KEYS:
        raise refuse(f"unknown key '{min(unknown)}'; allowed are {', '.join(sorted(_KEYS))}")
    names, raw_ids, seen = record["names"], record["raw_ids"], record.get("seen")
    if not (isinstance(names, list) and names and all(isinstance(n, str) for n in names)):
        raise refuse("'names' must be a non-empty list of strings")
    known: dict[str, str] = {}
    for name in names:
        if (read := as_clip_reads(name)) in known:
            raise refuse(
                f"'names' holds a name twice: '{known[read]}' and '{name}' are one to CLIP"
            )
        known[read] = name
    if not (
        isinstance(raw_ids, list)
        and all(type(i) is int and 0 <= i <= _MOST_RAW_ID for i in raw_ids)
    ):
        raise refuse(f"'raw_ids' must be a list of whole numbers >= 0, at most {_MOST_RAW_ID}")
    if len(raw_ids) != len(names) or len(set(raw_ids)) != len(names):
        raise refuse(f"'raw_ids' must hold one number for each of the {len(names)} names, once")
    if seen is not None and (
        not isinstance(seen, list)
        or len(seen) != len(names)
        or any(type(s) is not bool for s in seen)
    ):
        raise refuse(f"'seen' must hold true or false for each of the {len(names)} names")
    if _FORMER in record:  # what the key was called at first
        record = {"parents": record[_FORMER], **record}
    relation = record.get("parents", {})
    if not isinstance(relation, dict) or not all(
        isinstance(of_one, list) and all(isinstance(n, str) for n in of_one)
        for of_one in relation.values()
    ):
        raise refuse("'parents' must be an object: for a class a list of its parents")
    predict_with = record.get("predict_with")
    if not isinstance(predict_with, str | None):
        raise refuse("'predict_with' must be the name of a class list")

    position = {name: index for index, name in enumerate(names)}
    parents = {}
    for child, its_parents in relation.items():
        if stranger := next((n for n in [child, *its_parents] if n not in position), None):
            raise refuse(f"'parents' names '{stranger}', which is not among 'names'")
        parents[position[child]] = tuple(position[parent] for parent in its_parents)
    return ClassList(
        name=path.stem,
        names=tuple(names),
        raw_ids=tuple(raw_ids),
        seen=None if seen is None else tuple(seen),
        parents=parents,
        predict_with=predict_with,
        built_in=path.parent == DATA_FOLDER,
    )
