"""Segment images of your own into classes of your own.

For each image: IMAGE_overlay.png with a legend, IMAGE_labels.png (the 0-based class index of each
pixel, in the order given) and IMAGE.json (masks as COCO run-length encoding, areas, scores).
"""

import errno
import glob
import logging
import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image

from scan_core.apps.class_names import ClassNames, class_names
from scan_core.apps.model import ModelOptions, Options, ScoredMap, check_fraction, classify
from scan_core.datasets.reading_ahead import read_ahead
from scan_core.errors import InputError
from scan_core.params.command_line import run
from scan_core.storage.files import atomic_path, json_digest, read_json, write_json
from scan_core.storage.images import check_name, read_image, suffixes

if TYPE_CHECKING:
    from scan_core.inference.scan import Scan

# Image formats that are not read, so that they are reported as left out instead of passed over.
_UNREADABLE = {
    ".heic", ".heif", ".jxl", ".svg", ".psd", ".eps", ".exr", ".hdr", ".ico", ".icns", ".fits",
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".raw",
}  # fmt: skip
_RUN = "_run.json"  # in the folder of results: what they are made with
_READERS = 2
_MOST_WAITING = 16  # results that wait to be written


def segment(
    images: Annotated[tuple[str, ...], tyro.conf.Positional],
    classes: str,
    out: Path,
    background: str | None = None,
    minimum_score: float | None = None,
    resume: bool = False,
    overwrite: bool = False,
    model: Options = ModelOptions(),  # noqa: B008
) -> None:
    """Segment images of your own into classes of your own.

        python -m scan_core.apps.segment photos/ --classes "cat, dog, sofa | couch" --out segmented

    For each image: IMAGE_overlay.png with a legend, IMAGE_labels.png (the 0-based class index of
    each pixel, in the order given) and IMAGE.json (masks as COCO run-length encoding, areas,
    scores). The default model is the one that `make demo` has trained. It knows only the drawings
    and words of the miniature world; for photographs, import the published weights
    (docs/weights.md).

    Args:
        images: files, folders or glob patterns.
        classes: "cat, dog, sofa | couch" has commas between classes and | between synonyms; or
            @FILE with one class a line; or @NAME of a built-in list, such as @ade20k_150.
        out: folder for the results; it must be new or empty, unless one of the next two is given.
        background: one additional class, for pixels that match one of these words (given as in
            --classes; "" for none) better than any class, or score less than --minimum-score.
        minimum_score: pixels below it are background (default: 0.1 with --background, else there is
            no background).
        resume: skip images whose results are in --out already, by the same model, settings and
            classes, and newer than the image.
        overwrite: write over what is in --out.
        model: which model, and its settings.
    """
    if minimum_score and background is None:
        background = ""
    minimum_score = 0.1 if minimum_score is None else minimum_score
    check_fraction("minimum_score", minimum_score)
    wanted = class_names(classes, background)
    if foreign := wanted.not_english:
        logging.warning(
            "CLIP was trained on English captions; its results for '%s' are guesses",
            "', '".join(foreign[:5]),
        )
    paths = find_images(images)
    scan = model.open()
    failed = segment_files(scan, paths, wanted, out, minimum_score, resume, overwrite)
    if failed:
        reasons = "\n  ".join(map(str, failed))
        sys.exit(f"error: {len(failed)} of {len(paths)} images were left out:\n  {reasons}")


def find_images(sources: Sequence[str]) -> list[Path]:
    """The images that a person names.

    Args:
        sources: files, folders (the images in them, not those in folders below), and patterns
            such as `photos/**/*.jpg`.

    Returns:
        each once, in the order given; those of a folder or a pattern sorted.

    Raises:
        InputError: a source is or holds no image, or two images have the same name, so that
            their results would be the same files; `photo.jpg` and `photo.png` have not.
    """
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        problem = f"image {source} does not exist"
        if path.is_dir():
            images = sorted(filter(_is_image, path.iterdir()))
            problem = f"the folder {source} holds no images"
            if below := sum(p.is_dir() and p.name[0] != "." for p in path.iterdir()):
                logging.warning(
                    "%s: subfolders are left out (%d); '%s/**/*.*' includes their images",
                    *(source, below, source.rstrip("/")),
                )
        elif path.is_file():
            images = [path]
        else:
            images = sorted(filter(_is_image, map(Path, glob.glob(source, recursive=True))))  # noqa: PTH207
            if glob.has_magic(source):
                problem = f"no image fits {source}"
        if not images:
            raise InputError(f"{problem}; expected files such as .jpg or .png")
        found.update(dict.fromkeys(images))
    if not found:
        raise InputError("name the images: files, folders or patterns such as 'photos/*.jpg'")
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

    `photo` for `photo.jpg`; where there is a `photo.png` as well, the whole name of each.
    """
    counts = Counter(name for path in paths for name in {path.stem, path.name})
    return {path: path.stem if counts[path.stem] == 1 else path.name for path in paths}


def segment_files(
    scan: "Scan",
    paths: Sequence[Path],
    classes: ClassNames,
    out: Path,
    minimum_score: float = 0.0,
    resume: bool = False,
    overwrite: bool = False,
) -> list[InputError]:
    """Segment images, and write the results of each as soon as they are there.

    While the networks run, the next images are read, and the last ones' results are written.

    Args:
        scan: the model, with the settings to use.
        paths: from `find_images`.
        classes: what to look for.
        out: folder to write to.
        minimum_score: see `classify`.
        resume: see `segment`.
        overwrite: see `segment`.

    Returns:
        for each image that could not be segmented what was wrong with it.

    Raises:
        InputError: class names that CLIP cannot read, a folder that is not to be written to, or a
            full disk.
    """
    from tqdm import tqdm

    from scan_core.evaluation.predictions import coco_results, image_ids
    from scan_core.reporting.draw import draw_overlay

    text = scan.embed(classes.words)
    about = _begin(out, scan, classes, minimum_score, resume, overwrite)
    stems = result_stems(paths)
    ids = image_ids(list(stems.values()))
    todo = [path for path in paths if not (resume and _is_done(path, out, stems[path]))]
    if len(todo) < len(paths):
        logging.info(
            "%d of %d images have their result already", len(paths) - len(todo), len(paths)
        )
    failed: dict[Path, InputError] = {}

    def read(path: Path) -> tuple[Path, NDArray[np.uint8] | None]:
        try:
            check_name(path)
            return path, read_image(path)
        except InputError as error:
            failed[path] = error
            return path, None

    def write(path: Path, image: NDArray[np.uint8], result: ScoredMap) -> None:
        overlay, labels, summary = _results(out, stems[path])
        class_map, scores = result.class_map, result.scores()
        drawn = draw_overlay(image, class_map, classes.names, scores, classes.background_id)
        record = {
            "width": class_map.shape[1],
            "height": class_map.shape[0],
            "image": str(path),
            **about,
            "segments": coco_results(path.name, class_map, classes.names, scores, ids[stems[path]]),
        }
        try:
            for file, picture in ((overlay, drawn), (labels, label_picture(class_map, classes))):
                with atomic_path(file) as temporary:
                    picture.save(temporary)
            write_json(summary, record)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            reason = f"{error.strerror}: {error.filename or out}"
            failed[path] = InputError(f"results of {path} cannot be written: {reason}")

    with (
        ThreadPoolExecutor(1) as writer,
        closing(read_ahead(read, todo, _READERS)) as images,
    ):
        writing: list[Future[None]] = []
        for path, image in tqdm(images, total=len(todo), desc="images", unit="image"):
            if image is None:
                continue
            (views,) = scan.encode([image], [scan.settings])
            size = (image.shape[0], image.shape[1])
            result = classify(scan, views, text, classes, scan.settings, size, minimum_score)
            writing.append(writer.submit(write, path, image, result))
            if len(writing) > _MOST_WAITING:
                writing.pop(0).result()
        for waiting in writing:
            waiting.result()
    made = len(todo) - len(failed)
    logging.info("%d image%s segmented into %s", made, "" if made == 1 else "s", out)
    return [failed[path] for path in paths if path in failed]


def check_new(folder: Path) -> None:
    """Refuse a folder to write to that holds something.

    Raises:
        InputError: it does, or it is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; name another, or remove it")


def label_picture(class_map: NDArray[np.int32], classes: ClassNames) -> Image.Image:
    """The class map as a picture whose values are the class indices.

    Up to 256 classes it has a palette, so that it shows the legend's colours; more need 16 bits.
    """
    from scan_core.reporting.draw import class_colors

    if len(classes.names) > 256:
        return Image.fromarray(class_map.astype(np.uint16))
    picture = Image.fromarray(class_map.astype(np.uint8))
    picture.putpalette(class_colors(len(classes.names), classes.background_id).tobytes())
    return picture


def _is_image(path: Path) -> bool:
    known = path.suffix.lower() in suffixes() | _UNREADABLE
    return known and not path.name.startswith(".") and path.is_file()


def _begin(
    out: Path,
    scan: "Scan",
    classes: ClassNames,
    minimum_score: float,
    resume: bool,
    overwrite: bool,
) -> dict[str, Any]:
    """Check that the folder may be written to, and note in it what its results are made with."""
    about = {
        "model": scan.header.get("checkpoint"),
        "settings": {
            **asdict(scan.settings),
            "minimum_score": None if classes.background is None else minimum_score,
        },
        "classes": classes.records(),
    }
    run_file = out / _RUN
    if out.is_file():
        raise InputError(f"{out} is a file; name a folder with --out")
    if not overwrite and out.is_dir() and any(out.iterdir()):
        if not resume:
            raise InputError(
                f"{out} is not empty: choose another --out, or continue with --resume, or replace "
                "its files with --overwrite"
            )
        if not run_file.is_file() or json_digest(read_json(run_file)) != json_digest(about):
            raise InputError(
                f"{out} has no results of the same model, settings and classes to continue (see "
                f"{run_file}): choose another --out, or replace its files with --overwrite"
            )
    write_json(run_file, about)
    return about


def _results(out: Path, stem: str) -> tuple[Path, Path, Path]:
    return out / f"{stem}_overlay.png", out / f"{stem}_labels.png", out / f"{stem}.json"


def _is_done(path: Path, out: Path, stem: str) -> bool:
    try:
        image = os.stat(path).st_mtime_ns  # noqa: PTH116
        return all(result.stat().st_mtime_ns > image for result in _results(out, stem))
    except OSError:
        return False


def start() -> None:
    """Run the command."""
    run(segment)


if __name__ == "__main__":
    start()
