"""Images and labels in two folders, as people keep their own.

    images/<split>/…    labels/<split>/….png     a folder for each split, or
    images/…            labels/….png             all together, and <split>.txt with the names

A label has the name of its image, whatever folders below they lie in. A list has one name a line,
with or without suffix; without a list all images are in the split.
"""

from collections.abc import Iterable
from pathlib import Path

from scan_core.datasets.raw_format import RawFormat, RawPair, RawSplit
from scan_core.errors import InputError
from scan_core.storage.images import read_label, suffixes

_SHOWN = 5


def _list_split(raw_root: Path, split: str) -> RawSplit:
    roots = raw_root / "images", raw_root / "labels"
    if missing := [str(root) for root in roots if not root.is_dir()]:
        raise InputError(
            f"{' and '.join(missing)}: no such folder; expected images/ and labels/ in {raw_root}"
        )
    names: set[str] | None = None
    listed = raw_root / f"{split}.txt"
    if any((root / split).is_dir() for root in roots):
        roots = roots[0] / split, roots[1] / split
    elif listed.is_file():
        lines = listed.read_text(encoding="utf-8").splitlines()
        names = {_name(Path(line.strip())) for line in lines if line.strip()}
    images = _by_name(roots[0], suffixes(), names)
    labels = _by_name(roots[1], {".png"}, names)
    problems = [
        *(
            f"{images[name]} has no label in {roots[1]}"
            for name in sorted(images.keys() - labels.keys())
        ),
        *(
            f"{labels[name]} has no image in {roots[0]}"
            for name in sorted(labels.keys() - images.keys())
        ),
    ]
    if names is not None:
        unknown = sorted(names - images.keys() - labels.keys())
        problems += [f"{listed} names {name}, which has neither" for name in unknown]
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:_SHOWN])
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InputError(
            f"{raw_root}, split '{split}': images and labels do not belong together. A label has "
            f"its image's name and ends in .png:\n{shown}{more}"
        )
    return RawSplit(
        roots[0],
        [RawPair(n.replace("/", "_"), images[n].relative_to(roots[0]), labels[n]) for n in images],
    )


def _name(path: Path) -> str:
    return path.with_suffix("").as_posix()


def _by_name(root: Path, endings: Iterable[str], names: set[str] | None) -> dict[str, Path]:
    """Path below `root` without suffix -> file, sorted."""
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*")) if root.is_dir() else ():
        name = _name(path.relative_to(root))
        # Hidden ones are those that macOS puts beside others.
        if (
            path.name.startswith(".")
            or path.suffix.lower() not in endings
            or (names is not None and name not in names)
        ):
            continue
        if other := found.get(name):
            raise InputError(f"{other} and {path} have the same name; rename one, and its label")
        found[name] = path
    return found


FOLDER = RawFormat(name="folder", list_split=_list_split, decode=read_label, raw_values=2**16)
