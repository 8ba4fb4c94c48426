"""Conversion of a raw dataset into label maps of training ids, one image at a time.

Work goes into `<output>/partial/`, where finished images outlive a killed run, and gets its
final name when all of it is done. A fingerprint of the raw files tells a later run whether what
it finds there is still valid.
"""

import hashlib
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from scan_core.datasets.each_file import each_file
from scan_core.datasets.index import BenchmarkIndex, Sample, Split, load_index
from scan_core.datasets.progress import Converted, Progress, sha256_of
from scan_core.datasets.raw_format import RawFormat, RawSplit
from scan_core.errors import DiskFullError, InputError
from scan_core.params.provenance import package_hash
from scan_core.storage.atomic import atomic_path, remove_leftovers, write_text
from scan_core.storage.images import check_image, check_name, read_image
from scan_core.vocabulary.classes import ClassList

_SHOWN_PROBLEMS = 5
_JPEG_QUALITY = 95
_MADE_FROM = ".made_from"


@dataclass(frozen=True)
class _Task:
    """One image: where it is, and where its conversion goes (`new_image`: only if resized)."""

    stem: str
    image: Path
    label: Path
    new_label: Path
    new_image: Path | None


@dataclass(frozen=True)
class _Outcome:
    """What became of a task, or a problem."""

    converted: Converted = field(default_factory=Converted)
    problem: str | None = None


def convert(
    raw_format: RawFormat,
    classes: ClassList,
    raw_root: Path,
    output: Path,
    splits: Iterable[str] | Mapping[str, str],
    workers: int,
    name: str,
) -> BenchmarkIndex:
    """Convert the splits of a raw dataset.

    Makes `<output>/labels/<split>/<stem>.png` (training ids, 8 or 16 bit), for formats with a
    `short_side` also `<output>/images/<split>/<stem>.jpg`, and `<output>/index.json`.

    Args:
        raw_format: the layout to read.
        classes: the vocabulary; raw values outside it become its `ignore_label`.
        raw_root: root of the raw data. If relative, the index refers to images relatively.
        output: folder of the benchmark.
        splits: `train` and/or `val`, or a mapping of these to what the raw data calls them.
        workers: processes.
        name: of the benchmark, for the index.

    Returns:
        the index, as saved.

    Raises:
        InputError: the raw data is incomplete, damaged, or out of range. Every image that can
            be converted is, before the problems are reported, and is not converted again.
    """
    if classes.built_in and (largest := max(classes.raw_ids)) >= raw_format.raw_values:
        raise InputError(
            f"class list '{classes.name}' has the raw id {largest}, but {raw_format.name} has "
            f"only 0..{raw_format.raw_values - 1}"
        )
    partial_folder = output / "partial"
    names = splits if isinstance(splits, Mapping) else {split: split for split in splits}
    listed = {split: raw_format.list_split(raw_root, name) for split, name in names.items()}
    for split, raw in listed.items():
        _check_list(raw, split)
    made_from = _fingerprint(raw_format, classes, listed)
    if there := _made_meanwhile(output, made_from):
        return there
    _begin(partial_folder, made_from)
    converted = {}
    for split, raw in listed.items():
        tasks = _tasks(raw_format, raw, partial_folder, split)
        progress = Progress(partial_folder / f"{split}.jsonl")
        work = partial(_convert_one, raw_format, classes)
        outcomes = _run(work, tasks, workers, split, progress)
        converted[split] = _split(raw_format, raw, raw_root, output, split, tasks, outcomes)
    # An index must never describe label maps that it was not written for.
    (output / "index.json").unlink(missing_ok=True)
    (output / _MADE_FROM).unlink(missing_ok=True)
    for folder in ("labels", "images"):
        if (partial_folder / folder).is_dir():
            shutil.rmtree(output / folder, ignore_errors=True)
            (partial_folder / folder).replace(output / folder)
    shutil.rmtree(partial_folder)
    index = BenchmarkIndex(
        name=name,
        format=raw_format.name,
        classes=classes.name,
        names=classes.names,
        ignore_label=classes.ignore_label,
        splits=converted,
    )
    index.save(output / "index.json")
    write_text(output / _MADE_FROM, made_from)
    return index


def _made_meanwhile(output: Path, made_from: str) -> BenchmarkIndex | None:
    """The index, if another project that shares this folder has converted the very same."""
    mark, index = output / _MADE_FROM, output / "index.json"
    if not (mark.is_file() and index.is_file() and (output / "labels").is_dir()):
        return None
    if mark.read_bytes() != made_from.encode():
        return None
    logging.info("%s is made of the same data already", index)
    return load_index(index)


def _fingerprint(raw_format: RawFormat, classes: ClassList, listed: dict[str, RawSplit]) -> str:
    """Hash of all that the converted files depend on: for raw files their sizes and times."""
    code = package_hash(__name__)
    about = [raw_format.name, classes.name, classes.names, classes.raw_ids, code]
    digest = hashlib.sha256(json.dumps(about).encode())
    for split, raw in listed.items():
        for pair in raw.pairs:
            for path in (raw.image_root / pair.image, pair.label):
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue  # reported when its turn comes
                line = f"{split} {path} {status.st_size} {status.st_mtime_ns}"
                digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _check_list(raw: RawSplit, split: str) -> None:
    if not raw.pairs:
        raise InputError(f"the split '{split}' has no labelled image in {raw.image_root}")
    stem, count = Counter(pair.stem for pair in raw.pairs).most_common(1)[0]
    if count > 1:
        raise InputError(
            f"the split '{split}' lists {stem} {count} times; each image must be listed once"
        )


def _begin(folder: Path, fingerprint: str) -> None:
    """Keep what an earlier run left in `folder` only if it was made from the same files."""
    mark = folder / "fingerprint"
    if folder.exists() and not (mark.exists() and mark.read_bytes() == fingerprint.encode()):
        logging.info("the raw data has changed since an earlier run: starting again")
        shutil.rmtree(folder)
    remove_leftovers(folder)
    write_text(mark, fingerprint)


def _tasks(raw_format: RawFormat, raw: RawSplit, partial_folder: Path, split: str) -> list[_Task]:
    labels, images = (partial_folder / kind / split for kind in ("labels", "images"))
    labels.mkdir(parents=True, exist_ok=True)
    return [
        _Task(
            stem=pair.stem,
            image=raw.image_root / pair.image,
            label=pair.label,
            new_label=labels / f"{pair.stem}.png",
            new_image=images / f"{pair.stem}.jpg" if raw_format.short_side else None,
        )
        for pair in raw.pairs
    ]


def _run(
    work: "partial[_Outcome]", tasks: list[_Task], workers: int, split: str, progress: Progress
) -> list[Converted]:
    """Do every task that is not done, in order; raise once at the end if any had a problem."""
    known = {task.stem: converted for task in tasks if (converted := _kept(task, progress))}
    waiting = [task for task in tasks if task.stem not in known]
    if known:
        logging.info(
            "%s: %d images are converted already, %d to do", split, len(known), len(waiting)
        )

    problems = []
    found = each_file(work, waiting, workers)
    bar = tqdm(found, split, len(tasks), initial=len(known), unit="img", mininterval=5)
    for task, result in zip(waiting, bar, strict=True):
        outcome = result or _died(task)
        if outcome.problem:
            problems.append(outcome.problem)
            continue
        progress.add(task.stem, outcome.converted)
        known[task.stem] = outcome.converted
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:_SHOWN_PROBLEMS])
        more = len(problems) - _SHOWN_PROBLEMS
        raise InputError(
            f"{len(problems)} of {len(tasks)} images of the split '{split}' could not be "
            f"converted (the others are done and will be kept):\n{shown}"
            + (f"\n  and {more} more" if more > 0 else "")
        )
    return [known[task.stem] for task in tasks]


def _kept(task: _Task, progress: Progress) -> Converted | None:
    """What an earlier run made of the task, unless a power cut left its files without content."""
    converted = progress.done.get(task.stem)
    if converted is None or converted.skipped:
        return converted
    try:
        whole = task.new_label.stat().st_size == converted.label_bytes
        return (
            converted if whole and (not task.new_image or task.new_image.stat().st_size) else None
        )
    except FileNotFoundError:
        return None


def _died(task: _Task) -> _Outcome:
    return _Outcome(
        problem=f"the process that decoded {task.label} and {task.image} died: one of them is "
        "damaged, or larger than the memory; extract or copy both again"
    )


def _convert_one(raw_format: RawFormat, classes: ClassList, task: _Task) -> _Outcome:
    try:
        check_name(task.image)
        raw = raw_format.decode(task.label)
        label = _training_ids(raw_format, classes, raw, task.label)
        height, width = label.shape
        size = _target_size(raw_format, (width, height))
        _check_image(task, (width, height), size)
        if raw_format.skip_unlabelled and (label == classes.ignore_label).all():
            return _Outcome(Converted(skipped="no pixel has a label"))
        output = Image.fromarray(label)
        if size != (width, height):
            output = output.resize(size, Image.Resampling.NEAREST)
        with atomic_path(task.new_label) as temporary:
            output.save(temporary)
        return _Outcome(
            Converted(
                *size,
                label_sha256=sha256_of(task.new_label),
                label_bytes=task.new_label.stat().st_size,
                image_sha256=sha256_of(task.new_image or task.image),
            )
        )
    except DiskFullError:
        raise
    except InputError as error:
        return _Outcome(problem=str(error))


def _training_ids(
    raw_format: RawFormat, classes: ClassList, raw: NDArray[np.integer], path: Path
) -> NDArray[np.unsignedinteger]:
    """Label values as training ids.

    A built-in list belongs to a published data set, whose values are known: another one is a sign
    of the wrong file. The values of a list of one's own are its owner's choice.
    """
    if raw.ndim != 2:
        raise InputError(f"{path}: expected one value a pixel, got an array of shape {raw.shape}")
    if classes.built_in:
        void = raw_format.void
        outside = raw[(raw < 0) | (raw >= raw_format.raw_values)]
        strangers = np.unique(outside if void is None else outside[outside != void])
        if strangers.size:
            also = "" if void is None else f" or {void}"
            raise InputError(
                f"{path}: label value {strangers[0]} is out of range; {raw_format.name} has "
                f"0..{raw_format.raw_values - 1}{also}. Is this the right file?"
            )
    return classes.training_ids(raw)


def _target_size(raw_format: RawFormat, size: tuple[int, int]) -> tuple[int, int]:
    short = min(size)
    if raw_format.short_side is None or short <= raw_format.short_side:
        return size
    scale = raw_format.short_side / short
    return round(size[0] * scale), round(size[1] * scale)


def _check_image(task: _Task, size: tuple[int, int], new_size: tuple[int, int]) -> None:
    """Decode the image to find damage now, not in the middle of training; resize it if asked."""
    image_size, orientation = check_image(task.image)
    if image_size != size:
        raise InputError(
            f"{task.image} is {image_size[0]}x{image_size[1]} pixels, but its label {task.label} "
            f"is {size[0]}x{size[1]}; they must agree{_about_orientation(orientation)}"
        )
    if task.new_image is None:
        return
    picture = Image.fromarray(read_image(task.image))
    if new_size != size:
        picture = picture.resize(new_size, Image.Resampling.BILINEAR)
    with atomic_path(task.new_image) as temporary:
        picture.save(temporary, quality=_JPEG_QUALITY)


def _about_orientation(orientation: int) -> str:
    if orientation == 1:
        return ""
    return (
        f". The image has the EXIF orientation {orientation}, which is applied wherever it is "
        "read; turn the label likewise, or save the image upright, without the tag"
    )


def _way(start: Path, end: Path) -> Path:
    """The relative path between two folders that holds when both are moved or renamed together."""
    by_names = Path(os.path.relpath(end.absolute(), start.absolute()))
    # `..` out of a linked folder leads elsewhere than its name suggests.
    if (start / by_names).resolve() == end.resolve():
        return by_names
    return Path(os.path.relpath(end.resolve(), start.resolve()))


def _split(
    raw_format: RawFormat,
    raw: RawSplit,
    raw_root: Path,
    output: Path,
    split: str,
    tasks: list[_Task],
    outcomes: list[Converted],
) -> Split:
    resized = raw_format.short_side is not None
    image_root = Path("images", split) if resized else raw.image_root
    if not resized and not raw_root.is_absolute():
        image_root = _way(output, image_root)
    names = [task.new_image.name if task.new_image else None for task in tasks]
    samples = tuple(
        Sample(
            stem=pair.stem,
            image=name or pair.image.as_posix(),
            label=f"{pair.stem}.png",
            width=outcome.width,
            height=outcome.height,
            label_sha256=outcome.label_sha256,
            image_sha256=outcome.image_sha256,
        )
        for pair, name, outcome in zip(raw.pairs, names, outcomes, strict=True)
        if not outcome.skipped
    )
    skipped = {
        pair.stem: outcome.skipped
        for pair, outcome in zip(raw.pairs, outcomes, strict=True)
        if outcome.skipped
    }
    skipped |= dict.fromkeys(raw.unlabelled, "no label is published")
    for stem, reason in list(skipped.items())[:_SHOWN_PROBLEMS]:
        logging.info("%s: skipped %s: %s", split, stem, reason)
    logging.info("%s: %d images, %d skipped", split, len(samples), len(skipped))
    return Split(
        image_root=image_root.as_posix(),
        label_root=f"labels/{split}",
        samples=samples,
        skipped=skipped,
    )
