"""Writing the miniature world in the raw layouts of the real datasets."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from scan_core.datasets.formats import ADE_SPLITS
from scan_core.datasets.miniworld.captions import scene_captions
from scan_core.datasets.miniworld.concepts import STUFF, raw_table
from scan_core.datasets.miniworld.scenes import Scene, draw_scene
from scan_core.storage.files import atomic_folder, write_text
from scan_core.vocabulary.classes import load_class_list

Layout = Literal["coco", "ade_challenge", "ade_full", "voc2012", "voc2010"]
Labels = NDArray[np.uint16]

_SPLITS = {"train": 1, "val": 2}
_ADE_FOLDER = "images/ADE/{ade}/miniature/world"
_VOID = 255


class _Layout(NamedTuple):
    """How a layout is written.

    Attributes:
        stream: of random numbers: no two layouts share a scene.
        folder: what the layout owns below the raw root.
        classes: class list whose raw ids are written.
        other: raw value of what the class list has no name for.
        stem: name of an image.
        image: path of an image's file below the folder.
        label: likewise of its label.
        listed: likewise of the list of a split: of names, or for COCO of captions; empty: none.
    """

    stream: int
    folder: str
    classes: str
    other: int
    stem: str
    image: str
    label: str
    listed: str = ""


_LAYOUTS = {
    "coco": _Layout(
        11, "coco", "mini_coco_24", 255, "{number:012d}",
        "{split}2017/{stem}.jpg", "stuffthingmaps/{split}2017/{stem}.png",
        "annotations/captions_{split}2017.json"),
    "ade_challenge": _Layout(
        12, "ADEChallengeData2016", "mini_ade_36", 0, "ADE_{split}_{number:08d}",
        "images/{ade}/{stem}.jpg", "annotations/{ade}/{stem}.png"),
    "ade_full": _Layout(
        13, "ADE20K_2021_17_01", "mini_ade_87", 0, "ADE_{split}_{number:08d}",
        f"{_ADE_FOLDER}/{{stem}}.jpg", f"{_ADE_FOLDER}/{{stem}}_seg.png"),
    "voc2012": _Layout(
        14, "VOCdevkit/VOC2012", "mini_voc_10", 0, "{year}_{number:06d}",
        "JPEGImages/{stem}.jpg", "SegmentationClassAug/{stem}.png",
        "ImageSets/Segmentation/{split}.txt"),
    "voc2010": _Layout(
        15, "VOCdevkit/VOC2010", "mini_context_50", 0, "{year}_{number:06d}",
        "JPEGImages/{stem}.jpg", "trainval/{stem}.mat", "ImageSets/Main/{split}.txt"),
}  # fmt: skip


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
    about = _LAYOUTS[layout]
    final = raw_root / about.folder
    table = raw_table(load_class_list(about.classes), about.other)
    jobs = [(split, number) for split in _SPLITS for number in range(images.get(split, 0))]
    with atomic_folder(final) as folder, ProcessPoolExecutor(workers) as pool:
        drawn = pool.map(
            partial(_draw_and_write, layout, table, folder, seed, image_size), jobs, chunksize=32
        )
        records = list(tqdm(drawn, desc=layout, total=len(jobs), unit="img", mininterval=5))
        _write_lists(layout, folder, records)
        digest = _hash_of_files(folder)
        shutil.rmtree(final, ignore_errors=True)
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


def _draw_and_write(
    layout: Layout, table: Labels, root: Path, seed: int, image_size: int, job: tuple[str, int]
) -> dict[str, Any]:
    """Draw one image and write its files; what the lists of the layout say of it."""
    split, number = job
    about = _LAYOUTS[layout]
    stream = (seed, about.stream, _SPLITS[split])
    scene = draw_scene(stream, number, image_size, seen_only=layout == "coco")
    names = {"split": split, "ade": ADE_SPLITS[split], "year": 2000 + _SPLITS[split]}
    names["stem"] = about.stem.format(number=number + 1, **names)
    image, label = (root / path.format(**names) for path in (about.image, about.label))
    for path in (image, label):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene.pixels).save(image, quality=95, subsampling=0)
    _write_label(layout, label, table[scene.concepts], scene, number)
    return {
        "split": split,
        "path": image.relative_to(root),
        "size": scene.concepts.shape,
        "captions": scene_captions(np.random.default_rng([*stream, number, 1]), scene),
    }


def _write_label(layout: Layout, path: Path, labels: Labels, scene: Scene, number: int) -> None:
    if layout == "voc2010":
        scipy.io.savemat(str(path), {"LabelMap": labels}, do_compression=True)
        with path.open("r+b") as file:  # in place of a header with the time of day
            file.write(b"MATLAB 5.0 MAT-file, miniature world".ljust(116))
        return
    if layout == "ade_full":
        things = (scene.concepts >= len(STUFF)) * 255
        labels = np.stack([labels // 256 * 10, labels % 256, things], axis=-1)
    elif layout == "voc2012":
        labels[_borders(labels)] = _VOID
    picture = Image.fromarray(labels.astype(np.uint8))
    # Half of the real augmented maps are grey, half have a palette: both must be read alike.
    if layout == "voc2012" and number % 2:
        picture.putpalette(_voc_palette())
    picture.save(path, compress_level=3)


def _write_lists(layout: Layout, root: Path, records: list[dict[str, Any]]) -> None:
    """Write what a layout has besides images and labels; the challenge has nothing."""
    about = _LAYOUTS[layout]
    if layout == "ade_full":
        classes = load_class_list(about.classes)
        names = dict(zip(classes.raw_ids, classes.names, strict=True))
        index = {
            "filename": [record["path"].name for record in records],
            "folder": [f"{about.folder}/{record['path'].parent}" for record in records],
            "objectnames": [names.get(i, "-") for i in range(1, max(names) + 1)],
        }
        (root / "index_ade20k.pkl").write_bytes(pickle.dumps(index))
    for split in _SPLITS if about.listed else ():
        own = [record for record in records if record["split"] == split]
        names_of_split = "".join(f"{record['path'].stem}\n" for record in own)
        text = json.dumps(_captions(own)) if layout == "coco" else names_of_split
        write_text(root / about.listed.format(split=split), text)


def _captions(records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """A document as COCO's."""
    images = [
        {"id": int(path.stem), "file_name": path.name, "height": height, "width": width}
        for path, (height, width) in ((record["path"], record["size"]) for record in records)
    ]
    texts = [(int(r["path"].stem), caption) for r in records for caption in r["captions"]]
    annotations = [
        {"id": number, "image_id": image_id, "caption": caption}
        for number, (image_id, caption) in enumerate(texts, start=1)
    ]
    return {"images": images, "annotations": annotations}


def _borders(labels: Labels) -> NDArray[np.bool_]:
    """Pixels beside a change of label, as VOC leaves them out."""
    borders = np.zeros(labels.shape, bool)
    borders[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    borders[1:] |= labels[1:] != labels[:-1]
    return borders


def _voc_palette() -> bytes:
    """VOC's colour map: the bits of an index, spread over the three channels."""
    index, channel, j = np.ogrid[:256, :3, :3]
    bits = ((index >> (3 * j + channel)) & 1) << (7 - j)
    return bytes(bits.sum(axis=-1).astype(np.uint8))
