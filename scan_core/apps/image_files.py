"""Image files in, segmentations out: which images, what is written for each, and going on."""

import glob
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from scan_core.apps.own_classes import OwnClasses
from scan_core.apps.own_images import OwnSegmentation, classify
from scan_core.errors import InputError
from scan_core.evaluation.coco_results import coco_results
from scan_core.inference.scan import Scan
from scan_core.models.preprocessing import read_image
from scan_core.reporting.pictures.overlay import colors_of, draw_overlay
from scan_core.storage.atomic import atomic_path, write_text

SUFFIXES = frozenset(Image.registered_extensions()) - {".pdf", ".eps", ".ps", ".mpg", ".mpeg"}


def find_images(sources: Sequence[str]) -> list[Path]:
    """The images that a person names.

    Args:
        sources: files, folders (the images in them, not those in folders below), and patterns
            such as `photos/**/*.jpg`.

    Returns:
        each once, in the order given; those of a folder or a pattern sorted.

    Raises:
        InputError: a source is or holds no image, or two images have the same name, so that
            their results would be the same files.
    """
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            images = sorted(p for p in path.iterdir() if _is_image(p))
            expected = f"the folder {source} holds no images"
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
        if other := named.get(path.stem):
            raise InputError(
                f"{other} and {path} have the same name, so that one result would replace the "
                "other; segment them into two folders"
            )
        named[path.stem] = path
    return list(found)


def segment_files(
    scan: Scan,
    paths: Sequence[Path],
    classes: OwnClasses,
    output: Path,
    least_score: float = 0.0,
    batch_size: int = 8,
    resume: bool = False,
) -> list[InputError]:
    """Segment images, and write the results of each as soon as they are there.

    Args:
        scan: the model, with the settings to use.
        paths: from `find_images`.
        classes: what to look for.
        output: folder to write to.
        least_score: see `classify`.
        batch_size: images that are read, and handed to the networks, at once. An image has the
            same result in any company.
        resume: leave images out whose result was made with the same model settings and classes.

    Returns:
        for each image that could not be segmented what was wrong with it.

    Raises:
        InputError: class names that CLIP cannot read, or a full disk.
    """
    about = _about(scan, classes, least_score)
    todo = [
        path for path in paths if not (resume and _is_made(output / f"{path.stem}.json", about))
    ]
    if len(todo) < len(paths):
        logging.info(
            "%d of %d images have their result already", len(paths) - len(todo), len(paths)
        )
    text = scan.embed(classes.words)
    failed = []
    progress = tqdm(total=len(todo), desc="images", unit="image")
    for first in range(0, len(todo), batch_size):
        batch = todo[first : first + batch_size]
        images = []
        for path in batch:
            try:
                images.append((path, read_image(path)))
            except InputError as error:
                failed.append(error)
        observed = scan.observe([array for _, array in images], [scan.settings])
        for (path, array), seen in zip(images, observed, strict=True):
            size = (array.shape[0], array.shape[1])
            result = classify(scan, seen, text, classes, scan.settings, size, least_score)
            write_results(output, path, array, result, about)
        progress.update(len(batch))
    progress.close()
    return failed


def write_results(
    output: Path,
    path: Path,
    image: np.ndarray[Any, np.dtype[np.uint8]],
    result: OwnSegmentation,
    about: dict[str, Any],
) -> None:
    """Write an image's overlay, label map and JSON; the JSON last, so that it stands for all.

    Args:
        output: folder.
        path: of the image.
        image: (H, W, 3) uint8, RGB.
        result: its segmentation.
        about: what the result depends on besides the image.

    Raises:
        DiskFullError: there is no space for them.
    """
    names, background = result.classes.names, result.classes.background_id
    scores = result.scores()
    with atomic_path(output / f"{path.stem}_overlay.png") as temporary:
        draw_overlay(image, result.class_map, names, scores, background).save(temporary)
    with atomic_path(output / f"{path.stem}_labels.png") as temporary:
        label_picture(result).save(temporary)
    record = {
        "image": str(path),
        "width": image.shape[1],
        "height": image.shape[0],
        **about,
        "segments": coco_results(path.name, result.class_map, names, scores),
    }
    write_text(
        output / f"{path.stem}.json", json.dumps(record, ensure_ascii=False, indent=1) + "\n"
    )


def label_picture(result: OwnSegmentation) -> Image.Image:
    """The class map as a picture whose values are the classes' numbers.

    Up to 256 classes it has a palette, so that it shows the legend's colours; more need 16 bits.
    """
    names, background = result.classes.names, result.classes.background_id
    if len(names) > 256:
        return Image.fromarray(result.class_map.astype(np.uint16))
    picture = Image.fromarray(result.class_map.astype(np.uint8))
    picture.putpalette(colors_of(len(names), background).tobytes())
    return picture


def _is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES


def _about(scan: Scan, classes: OwnClasses, least_score: float) -> dict[str, Any]:
    words: list[list[str]] = [list(synonyms) for synonyms in classes.synonyms]
    if classes.background is not None:
        words.append(list(classes.background))
    return {
        "classes": [
            {"id": number, "name": name, "words": words[number]}
            for number, name in enumerate(classes.names)
        ],
        "settings": {
            **asdict(scan.settings),
            "least_score": None if classes.background is None else least_score,
        },
        "model": scan.header.get("checkpoint"),
    }


def _is_made(path: Path, about: dict[str, Any]) -> bool:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and {key: record.get(key) for key in about} == about
