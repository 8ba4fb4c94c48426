"""Writing the miniature world in the raw layouts of the real datasets."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from scan_core.datasets.miniworld.captions import scene_captions
from scan_core.datasets.miniworld.concepts import STUFF, raw_table
from scan_core.datasets.miniworld.scenes import draw_scene
from scan_core.vocabulary.classes import load_class_list

Layout = Literal["coco", "ade_challenge", "ade_full", "voc2012", "voc2010"]
Labels = NDArray[np.uint16]

# Random streams: no two layouts or splits share a scene.
_STREAMS = {"coco": 11, "ade_challenge": 12, "ade_full": 13, "voc2012": 14, "voc2010": 15}
_SPLITS = {"train": 1, "val": 2}
_ADE_SPLITS = {"train": "training", "val": "validation"}
_ADE_FULL = "ADE20K_2021_17_01"
_VOID = 255


@dataclass(frozen=True)
class _Image:
    """One drawn image, ready to be written."""

    split: str
    number: int
    pixels: NDArray[np.uint8]
    labels: Labels
    things: NDArray[np.bool_]
    captions: list[str]


@dataclass(frozen=True)
class _Writer:
    """How a layout is written.

    Attributes:
        folder: what the layout owns below the raw root.
        classes: class list whose raw ids are written.
        other: raw value of what the class list has no name for.
        seen_only: draw only what the training vocabulary has.
        write: raw root, image -> writes its files, returns a record of it.
        finish: raw root, records -> writes the lists of the layout.
    """

    folder: str
    classes: str
    other: int
    seen_only: bool
    write: Callable[[Path, _Image], dict[str, Any]]
    finish: Callable[[Path, list[dict[str, Any]]], None]


def generate(
    layout: Layout,
    raw_root: Path,
    seed: int,
    image_size: int,
    images: Mapping[str, int],
    workers: int,
) -> dict[str, Any]:
    """Draw one layout's images and write them as the real dataset is laid out.

    The layout's folder appears complete or not at all; an earlier one is replaced.

    Args:
        layout: which dataset to imitate.
        raw_root: root of the raw data.
        seed: of the world.
        image_size: longer side of an image, pixels.
        images: `train` and `val` -> number of images.
        workers: processes; the result does not depend on it.

    Returns:
        a record that fits into JSON: layout, seed, size, numbers of images, and a hash over all
        files.
    """
    writer = _WRITERS[layout]
    staging = raw_root / f".{layout}.partial"
    shutil.rmtree(staging, ignore_errors=True)
    jobs = [(split, number) for split in _SPLITS for number in range(images.get(split, 0))]
    draw = partial(_draw_and_write, layout, staging, seed, image_size)
    with ProcessPoolExecutor(workers) as pool:
        drawn = pool.map(draw, jobs, chunksize=32)
        records = list(tqdm(drawn, desc=layout, total=len(jobs), unit="img", mininterval=5))
    writer.finish(staging, records)
    digest = _hash_of_files(staging / writer.folder)
    final = raw_root / writer.folder
    shutil.rmtree(final, ignore_errors=True)
    final.parent.mkdir(parents=True, exist_ok=True)
    (staging / writer.folder).replace(final)
    shutil.rmtree(staging)
    return {
        "layout": layout,
        "seed": seed,
        "image_size": image_size,
        "images": dict(images),
        "sha256": digest,
    }


def _hash_of_files(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@cache
def _labels_of(layout: Layout) -> Labels:
    writer = _WRITERS[layout]
    return raw_table(load_class_list(writer.classes), writer.other)


def _draw_and_write(
    layout: Layout, root: Path, seed: int, image_size: int, job: tuple[str, int]
) -> dict[str, Any]:
    split, number = job
    writer = _WRITERS[layout]
    stream = (seed, _STREAMS[layout], _SPLITS[split])
    scene = draw_scene(stream, number, image_size, writer.seen_only)
    image = _Image(
        split=split,
        number=number,
        pixels=scene.pixels,
        labels=_labels_of(layout)[scene.concepts],
        things=scene.concepts >= len(STUFF),
        captions=scene_captions(np.random.default_rng([*stream, number, 1]), scene),
    )
    return writer.write(root, image)


def _save(path: Path, array: NDArray[Any], palette: bytes | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    if palette is not None:
        picture.putpalette(palette)
    if path.suffix == ".jpg":
        picture.save(path, quality=95, subsampling=0)
    else:
        picture.save(path, compress_level=3)


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_coco(root: Path, image: _Image) -> dict[str, Any]:
    folder, stem = f"{image.split}2017", f"{image.number + 1:012d}"
    _save(root / f"coco/{folder}/{stem}.jpg", image.pixels)
    labels = image.labels.astype(np.uint8)
    _save(root / f"coco/stuffthingmaps/{folder}/{stem}.png", labels)
    return {
        "split": image.split,
        "id": image.number + 1,
        "file_name": f"{stem}.jpg",
        "height": image.pixels.shape[0],
        "width": image.pixels.shape[1],
        "captions": image.captions,
    }


def _finish_coco(root: Path, records: list[dict[str, Any]]) -> None:
    folder = root / "coco/annotations"
    folder.mkdir(parents=True, exist_ok=True)
    for split in _SPLITS:
        own = [record for record in records if record["split"] == split]
        images = [{k: r[k] for k in ("id", "file_name", "height", "width")} for r in own]
        texts = [(record["id"], caption) for record in own for caption in record["captions"]]
        annotations = [
            {"id": number, "image_id": image_id, "caption": caption}
            for number, (image_id, caption) in enumerate(texts, start=1)
        ]
        contents = json.dumps({"images": images, "annotations": annotations})
        (folder / f"captions_{split}2017.json").write_text(contents, encoding="utf-8")


def _write_ade_challenge(root: Path, image: _Image) -> dict[str, Any]:
    base, folder = root / "ADEChallengeData2016", _ADE_SPLITS[image.split]
    stem = f"ADE_{image.split}_{image.number + 1:08d}"
    _save(base / f"images/{folder}/{stem}.jpg", image.pixels)
    _save(base / f"annotations/{folder}/{stem}.png", image.labels.astype(np.uint8))
    return {}


def _write_ade_full(root: Path, image: _Image) -> dict[str, Any]:
    folder = f"{_ADE_FULL}/images/ADE/{_ADE_SPLITS[image.split]}/miniature/world"
    stem = f"ADE_{image.split}_{image.number + 1:08d}"
    _save(root / folder / f"{stem}.jpg", image.pixels)
    red, green = image.labels // 256 * 10, image.labels % 256
    coded = np.stack([red, green, image.things * 255], axis=-1).astype(np.uint8)
    _save(root / folder / f"{stem}_seg.png", coded)
    classes = load_class_list(_WRITERS["ade_full"].classes)
    names = dict(zip(classes.raw_ids, classes.names, strict=True))
    present = [int(value) for value in np.unique(image.labels) if value]
    objects = [{"name": names[value], "name_ndx": value} for value in present]
    annotation = {"annotation": {"filename": f"{stem}.jpg", "folder": folder, "object": objects}}
    (root / folder / f"{stem}.json").write_text(json.dumps(annotation), encoding="utf-8")
    return {"folder": folder, "filename": f"{stem}.jpg"}


def _finish_ade_full(root: Path, records: list[dict[str, Any]]) -> None:
    classes = load_class_list(_WRITERS["ade_full"].classes)
    names = dict(zip(classes.raw_ids, classes.names, strict=True))
    index = {
        "filename": [record["filename"] for record in records],
        "folder": [record["folder"] for record in records],
        "objectnames": [names.get(i, "-") for i in range(1, max(names) + 1)],
    }
    with (root / _ADE_FULL / "index_ade20k.pkl").open("wb") as file:
        pickle.dump(index, file)


def _write_voc2012(root: Path, image: _Image) -> dict[str, Any]:
    base, stem = root / "VOCdevkit/VOC2012", _voc_stem(image)
    _save(base / f"JPEGImages/{stem}.jpg", image.pixels)
    labels = image.labels.astype(np.uint8)
    labels[_borders(labels)] = _VOID
    # Half of the real augmented maps are grey, half have a palette: both must be read alike.
    palette = _VOC_PALETTE if image.number % 2 else None
    _save(base / f"SegmentationClassAug/{stem}.png", labels, palette)
    return {"split": image.split, "stem": stem}


def _write_voc2010(root: Path, image: _Image) -> dict[str, Any]:
    base, stem = root / "VOCdevkit/VOC2010", _voc_stem(image)
    _save(base / f"JPEGImages/{stem}.jpg", image.pixels)
    path = base / f"trainval/{stem}.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Fixed header text: the default holds the time of day.
    scipy.io.savemat(str(path), {"LabelMap": image.labels}, do_compression=True)
    _without_date(path)
    return {"split": image.split, "stem": stem}


def _finish_voc(folder: str, lists: str, root: Path, records: list[dict[str, Any]]) -> None:
    for split in _SPLITS:
        stems = [record["stem"] for record in records if record["split"] == split]
        _write_lines(root / f"VOCdevkit/{folder}/ImageSets/{lists}/{split}.txt", stems)


def _voc_stem(image: _Image) -> str:
    return f"{2000 + _SPLITS[image.split]}_{image.number + 1:06d}"


def _borders(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels beside a change of label, as VOC leaves them out."""
    borders = np.zeros(labels.shape, bool)
    borders[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    borders[1:] |= labels[1:] != labels[:-1]
    return borders


def _without_date(path: Path) -> None:
    header = b"MATLAB 5.0 MAT-file, miniature world".ljust(116)
    with path.open("r+b") as file:
        file.write(header)


def _voc_palette() -> bytes:
    """VOC's colour map: the bits of an index, spread over the three channels."""
    colors = []
    for index in range(256):
        for channel in range(3):
            bits = [(index >> (3 * j + channel)) & 1 for j in range(3)]
            colors.append(sum(bit << (7 - j) for j, bit in enumerate(bits)))
    return bytes(colors)


_VOC_PALETTE = _voc_palette()


def _nothing(_root: Path, _records: list[dict[str, Any]]) -> None:
    """The challenge has no lists."""


_WRITERS: dict[str, _Writer] = {
    "coco": _Writer("coco", "mini_coco_24", 255, True, _write_coco, _finish_coco),
    "ade_challenge": _Writer(
        "ADEChallengeData2016", "mini_ade_36", 0, False, _write_ade_challenge, _nothing
    ),
    "ade_full": _Writer(_ADE_FULL, "mini_ade_87", 0, False, _write_ade_full, _finish_ade_full),
    "voc2012": _Writer(
        "VOCdevkit/VOC2012",
        "mini_voc_10",
        0,
        False,
        _write_voc2012,
        partial(_finish_voc, "VOC2012", "Segmentation"),
    ),
    "voc2010": _Writer(
        "VOCdevkit/VOC2010",
        "mini_context_50",
        0,
        False,
        _write_voc2010,
        partial(_finish_voc, "VOC2010", "Main"),
    ),
}
