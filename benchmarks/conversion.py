"""Speed and memory of the converters at real image sizes.

    python -m benchmarks.conversion

Prints images/s of one process for every format, as a ratio to a baseline in the same run (Pillow
decoding the same images and labels, nothing else), and the peak memory of a process that
converts N and then 4 N images. Images are synthetic; sizes are those of the real datasets.
"""

import argparse
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from scan_core.datasets.conversion import Conversion
from scan_core.datasets.formats import FORMATS
from scan_core.vocabulary.classes import load_class_list

# format -> class list, width, height, number of raw values
SIZES = {
    "coco_stuff": ("coco_stuff_171", 640, 480),
    "ade20k_150": ("ade20k_150", 683, 512),
    "ade20k_847": ("ade20k_847", 2000, 1504),
    "pascal_voc": ("voc_20", 500, 375),
    "pascal_context": ("context_459", 500, 375),
}


def smooth_image(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Noise on several scales: compresses about as well as a photo."""
    result = np.zeros((height, width, 3))
    for cells, weight in ((6, 120), (40, 60), (200, 40)):
        grid = rng.integers(0, 256, (cells, cells, 3), np.uint8)
        layer = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        result += np.asarray(layer) * (weight / 220)
    return Image.fromarray(result.clip(0, 255).astype(np.uint8))


def blocky_labels(
    rng: np.random.Generator, values: list[int], width: int, height: int
) -> np.ndarray:
    """About forty regions."""
    grid = rng.choice(values, (6, 7)).astype(np.int32)
    image = Image.fromarray(grid, mode="I").resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(image)


def write_raw(format_name: str, root: Path, number: int) -> None:
    """Write `number` images of one raw layout."""
    class_list, width, height = SIZES[format_name]
    rng = np.random.default_rng(0)
    raw_ids = list(load_class_list(class_list).raw_ids)
    photo = root / "photo.jpg"
    root.mkdir(parents=True)
    smooth_image(rng, width, height).save(photo, quality=92)
    stems = [f"ADE_val_{i:08d}" for i in range(number)]

    def place(image: str, label: str, write: Callable[[Path, np.ndarray], None]) -> None:
        for stem in stems:
            target, raw = root / image.format(stem), root / label.format(stem)
            target.parent.mkdir(parents=True, exist_ok=True)
            raw.parent.mkdir(parents=True, exist_ok=True)
            os.link(photo, target)
            write(raw, blocky_labels(rng, raw_ids, width, height))

    def grey(path: Path, label: np.ndarray) -> None:
        Image.fromarray(label.astype(np.uint8)).save(path)

    def coded(path: Path, label: np.ndarray) -> None:
        channels = [label // 256 * 10, label % 256, label * 0]
        Image.fromarray(np.stack(channels, -1).astype(np.uint8)).save(path, compress_level=1)

    def matlab(path: Path, label: np.ndarray) -> None:
        scipy.io.savemat(path, {"LabelMap": label.astype(np.uint16)}, do_compression=True)

    def write_list(path: str) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("\n".join(stems))

    match format_name:
        case "coco_stuff":
            place("coco/val2017/{}.jpg", "coco/stuffthingmaps/val2017/{}.png", grey)
        case "ade20k_150":
            base = "ADEChallengeData2016"
            place(base + "/images/validation/{}.jpg", base + "/annotations/validation/{}.png", grey)
        case "ade20k_847":
            folder = "ADE20K_2021_17_01/images/ADE/validation/a"
            place(folder + "/{}.jpg", folder + "/{}_seg.png", coded)
            index = {"folder": [folder] * number, "filename": [f"{s}.jpg" for s in stems]}
            (root / "ADE20K_2021_17_01/index_ade20k.pkl").write_bytes(pickle.dumps(index))
        case "pascal_voc":
            base = "VOCdevkit/VOC2012"
            place(base + "/JPEGImages/{}.jpg", base + "/SegmentationClassAug/{}.png", grey)
            write_list(f"{base}/ImageSets/Segmentation/val.txt")
        case "pascal_context":
            base = "VOCdevkit/VOC2010"
            place(base + "/JPEGImages/{}.jpg", base + "/trainval/{}.mat", matlab)
            write_list(f"{base}/ImageSets/Main/val.txt")


def baseline(format_name: str, root: Path) -> float:
    """Images/s of decoding every image and label in full."""
    raw = FORMATS[format_name].list_split(root, "val")
    start = time.perf_counter()
    for pair in raw.pairs:
        with Image.open(raw.image_root / pair.image) as image:
            image.load()
        FORMATS[format_name].decode(pair.label)
    return len(raw.pairs) / (time.perf_counter() - start)


def converted(format_name: str, root: Path, output: Path) -> float:
    """Images/s of a conversion in one process."""
    classes = load_class_list(SIZES[format_name][0])
    start = time.perf_counter()
    index = Conversion(FORMATS[format_name], classes).convert(
        root, output, {"val": "val"}, "benchmark"
    )
    return len(index.splits["val"].samples) / (time.perf_counter() - start)


def measure(format_name: str, number: int) -> dict[str, float]:
    """Convert in this process; meant to run in one of its own, for the peak of memory."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        subprocess.run(
            [sys.executable, "-m", "benchmarks.conversion", "--write", format_name,
             "--images", str(number), "--folder", str(root / "raw")],
            check=True,
        )  # fmt: skip
        speed = converted(format_name, root / "raw", root / "out")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"speed": speed, "peak": peak, "baseline": baseline(format_name, root / "raw")}


def main() -> None:
    """Print the table, or do one part of it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60, help="N (default: 60)")
    parser.add_argument("--write", choices=SIZES, help=argparse.SUPPRESS)
    parser.add_argument("--measure", choices=SIZES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write_raw(arguments.write, arguments.folder, arguments.images)
        return
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.images)))
        return
    print(f"{'format':15} {'pixels':>11} {'images/s':>9} {'decoding':>9} {'ratio':>6}  peak MiB")
    for name, (_, width, height) in SIZES.items():
        few, many = (
            json.loads(
                subprocess.run(
                    [sys.executable, "-m", "benchmarks.conversion", "--measure", name,
                     "--images", str(number)],
                    check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                ).stdout
            )
            for number in (arguments.images, 4 * arguments.images)
        )  # fmt: skip
        print(
            f"{name:15} {width:>5}x{height:<5} {many['speed']:9.1f} {many['baseline']:9.1f} "
            f"{many['speed'] / many['baseline']:6.2f}  {few['peak']:.0f} -> {many['peak']:.0f}"
        )


if __name__ == "__main__":
    main()
