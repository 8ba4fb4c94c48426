"""Class lists, and the sentences into which a class name is put.

A class list is one JSON file. The built-in ones lie in `data/` beside this module and go by
their file's stem; a list of your own is named by its path. Keys of the file:

    names         class names in training-id order, unique
    raw_ids       for each class its value in the raw label maps
    seen          optional, for each class whether the training vocabulary has it, or has it
                  in some colour (`ball` counts as seen where `red ball` is trained on)
    things        optional, for each class whether it is a thing, of which there are single ones
                  (`car`), or stuff (`sky`)
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
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scan_core.errors import InputError, worded
from scan_core.storage.files import read_text

DATA_FOLDER = Path(__file__).parent / "data"
_TEMPLATES = Path(__file__).parent / "prompt_templates.json"
_MOST_RAW_ID = 2**24 - 1  # of three bytes, as colours code them


@dataclass(frozen=True)
class ClassList:
    """One vocabulary: K classes, whose training ids are 0..K-1.

    Attributes:
        name: the file's stem.
        names: K class names.
        raw_ids: K raw label values.
        seen: K flags, or None where the notion does not apply.
        things: K flags, things or stuff, or None where the list does not say.
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
    things: tuple[bool, ...] | None = None
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

    def training_ids(self, raw: NDArray[np.integer[Any]]) -> NDArray[np.unsignedinteger[Any]]:
        """Raw label values of any range as training ids.

        Returns:
            an array of the same shape, of `label_dtype`: the training id, or `ignore_label` where
            the raw value belongs to no class of this list.
        """
        stranger = max(self.raw_ids) + 1
        table = np.full(stranger + 1, self.ignore_label, self.label_dtype)
        table[list(self.raw_ids)] = np.arange(len(self))
        known = (raw >= 0) & (raw < stranger)
        return np.take(table, np.where(known, raw, stranger))


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
        content = _File.model_validate_json(read_text(path))
    except ValidationError as error:
        raise InputError(
            f"class list {path}: {worded(error.errors()[0], list(_File.model_fields))}"
        ) from None
    position = {name: index for index, name in enumerate(content.names)}
    return ClassList(
        name=path.stem,
        parents={
            position[child]: tuple(position[parent] for parent in parents)
            for child, parents in content.parents.items()
        },
        built_in=path.parent == DATA_FOLDER,
        **content.model_dump(exclude={"parents", "source"}),
    )


class _File(BaseModel):
    """The contents of a class list."""

    model_config = ConfigDict(extra="forbid", strict=True)

    names: Annotated[tuple[str, ...], Field(min_length=1)]
    raw_ids: tuple[Annotated[int, Field(ge=0, le=_MOST_RAW_ID)], ...]
    seen: tuple[bool, ...] | None = None
    things: tuple[bool, ...] | None = None
    parents: dict[str, list[str]] = Field(default_factory=dict)
    predict_with: str | None = None
    source: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "_File":
        known: dict[str, str] = {}
        for number, name in enumerate(self.names):
            if not name.strip():
                raise ValueError(f"names.{number}: a class name is empty")
            if len(name.splitlines()) > 1:
                raise ValueError(f"names.{number}: the class name {name!r} has more than one line")
            if (read := as_clip_reads(name)) in known:
                raise ValueError(
                    f"'names' holds a name twice: '{known[read]}' and '{name}' are one to CLIP"
                )
            known[read] = name
        classes = len(self.names)
        if len(self.raw_ids) != classes or len(set(self.raw_ids)) != classes:
            raise ValueError(
                f"'raw_ids' must hold one number for each of the {classes} names, once"
            )
        for key, flags in (("seen", self.seen), ("things", self.things)):
            if flags is not None and len(flags) != classes:
                raise ValueError(f"'{key}' must hold true or false for each of the {classes} names")
        for child, parents in self.parents.items():
            for name in (child, *parents):
                if name not in self.names:
                    raise ValueError(f"'parents' names '{name}', which is not among 'names'")
        return self


def prompt_templates(name: str) -> tuple[str, ...]:
    """A template set.

    Args:
        name: `vild` (14 templates, what SCAN uses), `imagenet` (CLIP's 80) or `single`.

    Returns:
        sentences with `{}` where the class name goes.

    Raises:
        InputError: unknown name.
    """
    sets = json.loads(_TEMPLATES.read_text(encoding="utf-8"))
    if name not in sets:
        raise InputError(f"prompt templates '{name}' are unknown; there are {', '.join(sets)}")
    return tuple(sets[name])
