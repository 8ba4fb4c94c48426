"""Small raw data: photos, label maps, and the four images of a challenge."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from scan_core.datasets.conversion import Conversion
from scan_core.datasets.formats import FORMATS, RawFormat
from scan_core.datasets.index import BenchmarkIndex, Sample, Split
from scan_core.datasets.loading import BenchmarkImages
from scan_core.vocabulary.classes import ClassList, load_class_list


def photo(path: Path, width: int = 24, height: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def stripes(*values: int) -> np.ndarray:
    """16 x 24 pixels in vertical stripes of the values."""
    kind = np.uint8 if max(values) < 256 else np.uint16
    return np.repeat(np.array(values, kind), 24 // len(values))[None].repeat(16, axis=0)


def own_classes(folder: Path, *raw_ids: int) -> Path:
    path = folder / "own.json"
    names = ["road", "traffic light", *(f"class {number}" for number in range(2, len(raw_ids)))]
    path.write_text(json.dumps({"names": names[: len(raw_ids)], "raw_ids": raw_ids}))
    return path


def ade_file(raw: Path, number: int, kind: str) -> Path:
    folder, suffix = {"image": ("images", "jpg"), "label": ("annotations", "png")}[kind]
    return raw / f"ADEChallengeData2016/{folder}/validation/ADE_val_{number:08d}.{suffix}"


def write_ade(raw: Path) -> Path:
    """Four images of the scene-parsing challenge, of values 0, 1 and 150."""
    for number in range(1, 5):
        photo(ade_file(raw, number, "image"))
        png(ade_file(raw, number, "label"), stripes(0, 1, 150))
    return raw


def converted(
    raw_format: str | RawFormat, classes: str | Path, raw: Path, output: Path, split: str = "val",
    own: str | None = None, **options,
) -> BenchmarkImages:  # fmt: skip
    """A split, converted and opened."""
    chosen = FORMATS[raw_format] if isinstance(raw_format, str) else raw_format
    conversion = Conversion(chosen, load_class_list(str(classes)), **options)
    conversion.convert(raw, output, {split: own or split}, "benchmark")
    return BenchmarkImages(output / "index.json", split)


def written(
    folder: Path, labels: dict[str, np.ndarray], classes: ClassList, photos: dict | None = None,
    split: str = "val",
) -> BenchmarkImages:  # fmt: skip
    """A converted benchmark of these label maps, by stem; photos are grey where none are given."""
    samples = []
    for stem, label in labels.items():
        png(folder / f"labels/{stem}.png", label)
        grey = np.full((*label.shape, 3), 200, np.uint8)
        png(folder / f"images/{stem}.png", (photos or {}).get(stem, grey))
        samples.append(Sample(stem, f"{stem}.png", f"{stem}.png", *label.shape[::-1]))
    splits = {split: Split("images", "labels", tuple(samples), {})}
    name = classes.name
    index = BenchmarkIndex(name, "folder", name, classes.names, classes.ignore_label, splits)
    index.save(folder / "index.json")
    return BenchmarkImages(folder / "index.json", split)
