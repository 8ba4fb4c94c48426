"""Image files in, segmentations out: which images, what is written for each, and going on."""

import glob
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from scan_core.apps.own_classes import OwnClasses
from scan_core.apps.own_images import OwnSegmentation, classify
from scan_core.datasets.reading_ahead import read_ahead
from scan_core.errors import DiskFullError, InputError
from scan_core.evaluation.coco_results import coco_results, image_ids
from scan_core.inference.scan import Scan
from scan_core.reporting.draw import class_colors, draw_overlay
from scan_core.storage.atomic import atomic_path, write_text
from scan_core.storage.behind import WritingBehind
from scan_core.storage.images import check_name, read_image, suffixes

SUFFIXES = suffixes()
# Images too, which are not read: they are named among those that are left out, not passed over.
_FOREIGN = {
    ".heic", ".heif", ".jxl", ".svg", ".psd", ".eps", ".exr", ".hdr", ".ico", ".icns", ".fits",
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".raw",
}  # fmt: skip
_READERS = 2
_MARK = "scan_core.apps.segment"  # in every file that is written, by which it is known again


@dataclass(frozen=True)
class _Read:
    """An image: (H, W, 3) uint8, RGB, and the SHA-256 of its file."""

    pixels: NDArray[np.uint8]
    digest: str


def find_images(sources: Sequence[str]) -> list[Path]:
    """The images that a person names.

    Args:
        sources: files, folders (the images in them, not those in folders below), and patterns
            such as `photos/**/*.jpg`. Results of this command in a folder are no images of it.

    Returns:
        each once, in the order given; those of a folder or a pattern sorted.

    Raises:
        InputError: a source is or holds no image, or two images have the same name, so that
            their results would be the same files; `photo.jpg` and `photo.png` have not.
    """
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            images = sorted(p for p in path.iterdir() if _is_image(p))
            expected = f"the folder {source} holds no images"
            if below := sum(p.is_dir() and p.name[0] != "." for p in path.iterdir()):
                logging.warning(
                    "%s: subfolders are left out (%d); '%s/**/*.*' includes their images",
                    *(source, below, source.rstrip("/")),
                )
        elif path.is_file():
            images, expected = [path], ""
        else:
            fitting = glob.glob(source, recursive=True)  # noqa: PTH207
            images = sorted(p for p in map(Path, fitting) if _is_image(p))
            is_pattern = glob.has_magic(source)
            expected = f"no image fits {source}" if is_pattern else f"image {source} does not exist"
        if not images:
            raise InputError(f"{expected}; expected files such as .jpg or .png")
        found.update(dict.fromkeys(images))
    named: dict[str, Path] = {}
    for path in found:
        if other := named.get(path.name):
            raise InputError(
                f"{other} and {path} have the same name, so that one result would replace the "
                "other; segment them into two folders"
            )
        named[path.name] = path
    return list(found)


def result_stems(paths: Sequence[Path]) -> dict[Path, str]:
    """What the names of an image's results begin with.

    Args:
        paths: of all images.

    Returns:
        `photo` for `photo.jpg`; where there is a `photo.png` as well, the whole name of each.
    """
    counts = Counter(path.stem for path in paths)
    return {path: path.stem if counts[path.stem] == 1 else path.name for path in paths}


def segment_files(
    scan: Scan,
    paths: Sequence[Path],
    classes: OwnClasses,
    output: Path,
    minimum_score: float = 0.0,
    batch_size: int = 8,
    resume: bool = False,
) -> list[InputError]:
    """Segment images, and write the results of each as soon as they are there.

    While the networks run, the next images are read, and the last ones' results are written.

    Args:
        scan: the model, with the settings to use.
        paths: from `find_images`.
        classes: what to look for.
        output: folder to write to.
        minimum_score: see `classify`.
        batch_size: images that are handed to the networks at once. An image has the same result in
            any company.
        resume: leave images out whose result was made of the same content with the same model,
            settings and classes.

    Returns:
        for each image that could not be segmented what was wrong with it.

    Raises:
        InputError: class names that CLIP cannot read, or a full disk.
    """
    about = _about(scan, classes, minimum_score)
    stems = result_stems(paths)
    todo = [p for p in paths if not (resume and _is_made(output, p, stems[p], about))]
    if len(todo) < len(paths):
        logging.info(
            "%d of %d images have their result already", len(paths) - len(todo), len(paths)
        )
    text = scan.embed(classes.words)
    ids = image_ids(list(stems.values()))
    failed: dict[Path, InputError] = {}

    def read(path: Path) -> tuple[Path, _Read | None]:
        try:
            check_name(path)
            _check_free(output, path, stems[path])
            return path, _Read(read_image(path), _content(path))
        except InputError as error:
            failed[path] = error
            return path, None

    def write(path: Path, image: _Read, result: OwnSegmentation) -> None:
        about_image = {**about, "image_sha256": image.digest}
        stem = stems[path]
        try:
            write_results(output, path, image.pixels, result, about_image, ids[stem], stem)
        except DiskFullError:
            raise
        except OSError as error:
            why = f"{error.strerror}: {error.filename or output}"
            failed[path] = InputError(f"results of {path} cannot be written: {why}")

    with (
        tqdm(total=len(todo), desc="images", unit="image") as progress,
        closing(read_ahead(read, todo, _READERS)) as readings,
        WritingBehind(most=2 * batch_size) as writing,
    ):
        while batch := list(islice(readings, batch_size)):
            images = [(path, image) for path, image in batch if image is not None]
            arrays = [image.pixels for _, image in images]
            encoded = scan.encode(arrays, [scan.settings]) if images else []
            for (path, image), seen in zip(images, encoded, strict=True):
                size = (image.pixels.shape[0], image.pixels.shape[1])
                result = classify(scan, seen, text, classes, scan.settings, size, minimum_score)
                writing.submit(write, path, image, result)
            progress.update(len(batch))
    made = len(todo) - len(failed)
    logging.info("%d image%s segmented into %s", made, "" if made == 1 else "s", output)
    return [failed[path] for path in paths if path in failed]


def write_results(
    output: Path,
    path: Path,
    image: np.ndarray[Any, np.dtype[np.uint8]],
    result: OwnSegmentation,
    about: dict[str, Any],
    image_id: int | str,
    stem: str,
) -> None:
    """Write an image's overlay, label map and JSON; the JSON last, so that it stands for all.

    Args:
        output: folder.
        path: of the image.
        image: (H, W, 3) uint8, RGB.
        result: its segmentation.
        about: what the result depends on, the image's content among it.
        image_id: see `image_ids`.
        stem: see `result_stems`.

    Raises:
        DiskFullError: there is no space for them.
    """
    names, background = result.classes.names, result.classes.background_id
    scores = result.scores()
    overlay, labels, summary = _results_of(output, stem)
    mark = PngInfo()
    mark.add_text("Software", _MARK)
    with atomic_path(overlay) as temporary:
        draw_overlay(image, result.class_map, names, scores, background).save(
            temporary, pnginfo=mark
        )
    with atomic_path(labels) as temporary:
        label_picture(result).save(temporary, pnginfo=mark)
    record = {
        "image": str(path),
        "width": image.shape[1],
        "height": image.shape[0],
        "made_by": _MARK,
        **about,
        "segments": coco_results(path.name, result.class_map, names, scores, image_id),
    }
    write_text(summary, json.dumps(record, ensure_ascii=False, indent=1) + "\n")


def label_picture(result: OwnSegmentation) -> Image.Image:
    """The class map as a picture whose values are the classes' numbers.

    Up to 256 classes it has a palette, so that it shows the legend's colours; more need 16 bits.
    """
    names, background = result.classes.names, result.classes.background_id
    if len(names) > 256:
        return Image.fromarray(result.class_map.astype(np.uint16))
    picture = Image.fromarray(result.class_map.astype(np.uint8))
    picture.putpalette(class_colors(len(names), background).tobytes())
    return picture


def _is_image(path: Path) -> bool:
    suffix = path.suffix.lower()
    hidden = path.name.startswith(".")
    return (
        not hidden
        and (suffix in SUFFIXES or suffix in _FOREIGN)
        and path.is_file()
        and not (path.stem.endswith(("_overlay", "_labels")) and _is_ours(path))
    )


def _results_of(output: Path, stem: str) -> tuple[Path, Path, Path]:
    """Overlay, label map and JSON of an image."""
    return output / f"{stem}_overlay.png", output / f"{stem}_labels.png", output / f"{stem}.json"


def _is_ours(path: Path) -> bool:
    """Whether this command wrote a file."""
    if path.suffix == ".json":
        return _record(path).get("made_by") == _MARK
    try:
        with path.open("rb") as file:
            beginning = file.read(2048)  # the mark comes before the pixels, after a palette
    except OSError:
        return False
    return beginning.startswith(b"\x89PNG") and _MARK.encode() in beginning


def _check_free(output: Path, path: Path, stem: str) -> None:
    """Refuse to write over anything that this command has not written.

    Raises:
        InputError: names the file that stands there.
    """
    for result in _results_of(output, stem):
        try:
            exists = os.path.lexists(result)
        except OSError:
            exists = False  # a name that is too long: told when it is written
        if exists and not _is_ours(result):
            raise InputError(
                f"{path}: its result would replace {result}, which this command has not written; "
                "choose another --out"
            )


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _about(scan: Scan, classes: OwnClasses, minimum_score: float) -> dict[str, Any]:
    words: list[list[str]] = [list(synonyms) for synonyms in classes.synonyms]
    if classes.background is not None:
        words.append(list(classes.background))
    about = {
        "classes": [
            {"id": number, "name": name, "words": words[number]}
            for number, name in enumerate(classes.names)
        ],
        "settings": {
            **asdict(scan.settings),
            "minimum_score": None if classes.background is None else minimum_score,
        },
        "model": scan.header.get("checkpoint"),
    }
    # As it is read again: JSON has no tuples.
    as_read: dict[str, Any] = json.loads(json.dumps(about))
    return as_read


def _is_made(output: Path, path: Path, stem: str, about: dict[str, Any]) -> bool:
    *pictures, summary = _results_of(output, stem)
    record = _record(summary)
    if {key: record.get(key) for key in about} != about or not all(map(_is_ours, pictures)):
        return False
    try:
        return bool(record.get("image_sha256") == _content(path))
    except OSError:
        return False


def _record(path: Path) -> dict[str, Any]:
    """What a JSON file says; empty if it is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
