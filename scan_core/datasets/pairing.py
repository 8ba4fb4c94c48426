"""How images, labels, captions, predictions and lists of names belong together.

Each goes by its key: its path below the folder of its split, with `/` between folders and without
the suffix of its kind. `seqA/000000.jpg`, `seqA/000000.png` and a caption of `seqA/000000.jpg`
share the key `seqA/000000`.
"""

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from scan_core.errors import InputError, first_of
from scan_core.storage.files import files_below, read_text
from scan_core.storage.images import check_name, suffixes


@dataclass(frozen=True)
class RawPair:
    """An image and its raw label.

    Attributes:
        key: unique within a split; names the converted files.
        image: path relative to the split's image folder.
        label: path of the raw label.
    """

    key: str
    image: Path
    label: Path


@dataclass(frozen=True)
class RawSplit:
    """The list of a split.

    Attributes:
        image_root: folder that holds the images.
        pairs: what is listed, in the order of the list, or else of the keys.
        unlabelled: keys of listed images for which the publisher has no label.
        prepared: whether the labels are training ids already, see `prepared`.
    """

    image_root: Path
    pairs: list[RawPair]
    unlabelled: tuple[str, ...] = ()
    prepared: bool = False


def image_key(path: str | PurePosixPath) -> str:
    """The key of an image's path below its split; only the suffix of an image is cut off."""
    path = PurePosixPath(path)
    return str(path.with_suffix("") if path.suffix.lower() in suffixes() else path)


def known_key(path: str, keys: Container[str]) -> str | None:
    """Which of these keys a path means, with or without folders before the split's; None: none."""
    parts = PurePosixPath(path).parts
    names = ["/".join(parts[first:]) for first in range(len(parts))]
    forms = (form for name in names for form in (name, image_key(name)))
    return next((form for form in forms if form in keys), None)


def files_by_key(root: Path, endings: Iterable[str], named: str | None = None) -> dict[str, Path]:
    """Key -> file, for the files below a folder whose names have one of these endings.

    Args:
        root: folder of a split.
        endings: such as `.png` or `_labelIds.png`, in small or large letters.
        named: pattern of names; the key is the file's name alone, whatever folder it lies in.

    Raises:
        InputError: the folder is missing, two files have the same key, or a name is not UTF-8.
    """
    if not root.is_dir():
        raise InputError(f"folder {root} is missing; extract or copy the raw data again")
    cut = sorted({ending.lower() for ending in endings}, key=len, reverse=True)
    found: dict[str, Path] = {}
    for path in files_below(root):
        name = path.name if named else path.relative_to(root).as_posix()
        ending = next((ending for ending in cut if name.lower().endswith(ending)), None)
        if ending is None or not fnmatch(path.name, named or "*"):
            continue
        check_name(path)
        if other := found.get(key := name[: -len(ending)]):
            first, second = sorted([other, path])
            raise InputError(
                f"{first} and {second} have the same name; remove or rename one of them, and its "
                "label"
            )
        found[key] = path
    return found


def pair(
    image_root: Path,
    label_root: Path,
    label_suffix: str = ".png",
    image_suffix: str | None = None,
    listed: Path | None = None,
    named: str | None = None,
    may_lack_labels: float = 0,
) -> RawSplit:
    """Pair images with labels of the same key.

    Args:
        image_root: folder of the images.
        label_root: folder of the labels.
        label_suffix: what follows a label's key in its name.
        image_suffix: likewise of an image; None: the suffix of any image.
        listed: list of the names that belong to the split, one a line, with or without suffix;
            None: all.
        named: see `files_by_key`.
        may_lack_labels: so many images without a label are left out instead of refused.

    Raises:
        InputError: a folder or the list is missing or empty, an image or a label is alone, or the
            list names something unknown, or twice.
    """
    images = files_by_key(image_root, [image_suffix] if image_suffix else suffixes(), named)
    labels = files_by_key(label_root, [label_suffix], named)
    problems = []
    known = images.keys() | labels.keys()
    keys = sorted(known)
    if listed is not None:
        lines = read_text(listed, "it lists the images of a split, in UTF-8").splitlines()
        names = [line.strip() for line in lines if line.strip()]
        if not names:
            raise InputError(f"{listed} lists no image; extract or copy the raw data again")
        keys = [name if name in known else image_key(name) for name in names]
        problems += [
            f"{listed} lists {key} {count} times; each image must be listed once"
            for key, count in Counter(keys).items()
            if count > 1
        ]
    for key in keys:
        if key not in known:
            problems.append(f"{listed} names {key}, which has neither image nor label")
        elif key not in images:
            problems.append(f"{labels[key]} has no image in {image_root}")
    unlabelled = tuple(key for key in keys if key in images and key not in labels)
    if len(unlabelled) > may_lack_labels:
        problems += [f"{images[key]} has no label" for key in unlabelled]
    if problems:
        raise InputError(
            f"images in {image_root} and their labels do not belong together. A label has the "
            f"name of its image; complete the raw data or remove what is alone:\n"
            f"{first_of(problems)}"
        )
    return RawSplit(
        image_root,
        [
            RawPair(key, images[key].relative_to(image_root), labels[key])
            for key in keys
            if key in labels
        ],
        unlabelled,
    )
