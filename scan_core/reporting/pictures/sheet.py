"""The picture sheet of a benchmark: images beside their coloured, named label maps."""

import colorsys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from scan_core.datasets.index import BenchmarkIndex, Sample, Split, load_index
from scan_core.storage.atomic import atomic_path
from scan_core.storage.images import read_image, read_label

_TILE = 320  # longer side of one picture, pixels
_GAP = 12
_COLUMNS = 2  # samples side by side, each an image and its labels
_OVERLAY = 0.7  # opacity of the colours
_SMALLEST_SHARE = 0.004  # regions below this share of the image get no name
_BACKGROUND = (250, 250, 250)


def class_colors(number: int) -> NDArray[np.uint8]:
    """Distinct colours, the same on every call: hues by the golden ratio, in three shades.

    Args:
        number: how many.

    Returns:
        (number, 3) uint8, RGB.
    """
    shades = [(0.75, 0.95), (0.95, 0.70), (0.50, 0.85)]
    colors = [
        colorsys.hsv_to_rgb(i * 0.618034 % 1, *shades[i % len(shades)]) for i in range(number)
    ]
    return np.round(np.array(colors).reshape(-1, 3) * 255).astype(np.uint8)


def draw_sheet(index_path: Path, output: Path, samples: int = 8) -> None:
    """Draw samples of a benchmark, evenly taken from its last split, with a legend.

    Args:
        index_path: the benchmark's `index.json`.
        output: PNG to write, atomically.
        samples: how many.

    Raises:
        InputError: the index cannot be read.
    """
    index = load_index(index_path)
    split_name, split = list(index.splits.items())[-1]
    chosen = _evenly(split, samples)
    colors = class_colors(len(index.names))
    tiles, present = [], set()
    for sample in chosen:
        image, label = _load(index_path.parent, split, sample)
        present |= set(np.unique(label).tolist()) - {index.ignore_label}
        tiles.append((image, _overlay(image, label, colors, index)))
    cell_width, cell_height = 2 * _TILE + _GAP, max(t[0].height for t in tiles)
    rows = -(-len(tiles) // _COLUMNS)
    width = _COLUMNS * cell_width + (_COLUMNS + 1) * _GAP * 2
    legend = _legend(sorted(present), colors, index, width - 4 * _GAP)
    title_height = 44
    top = title_height + rows * (cell_height + 2 * _GAP)
    sheet = Image.new("RGB", (width, top + legend.height + 2 * _GAP), _BACKGROUND)
    title = f"{index.name}: {split_name}, {len(split.samples)} images, {len(index.names)} classes"
    ImageDraw.Draw(sheet).text((2 * _GAP, _GAP), title, "black", ImageFont.load_default(size=22))
    for number, (image, overlay) in enumerate(tiles):
        x = 2 * _GAP + number % _COLUMNS * (cell_width + 2 * _GAP)
        y = title_height + number // _COLUMNS * (cell_height + 2 * _GAP)
        sheet.paste(image, (x, y))
        sheet.paste(overlay, (x + image.width + _GAP, y))
    sheet.paste(legend, (2 * _GAP, top))
    with atomic_path(output) as temporary:
        sheet.save(temporary)


def _evenly(split: Split, number: int) -> list[Sample]:
    positions = np.linspace(0, len(split.samples) - 1, min(number, len(split.samples)))
    return [split.samples[round(position)] for position in positions]


def _load(
    folder: Path, split: Split, sample: Sample
) -> tuple[Image.Image, NDArray[np.unsignedinteger]]:
    """The image and its label map, both scaled so that the longer side is a tile's."""
    scale = _TILE / max(sample.width, sample.height)
    size = (max(1, round(sample.width * scale)), max(1, round(sample.height * scale)))
    image = Image.fromarray(read_image(folder / split.image_root / sample.image))
    label = Image.fromarray(read_label(folder / split.label_root / sample.label))
    return (
        image.resize(size, Image.Resampling.BICUBIC),
        np.asarray(label.resize(size, Image.Resampling.NEAREST)),
    )


def _overlay(
    image: Image.Image,
    label: NDArray[np.unsignedinteger],
    colors: NDArray[np.uint8],
    index: BenchmarkIndex,
) -> Image.Image:
    # Over grey, so that a colour looks as it does in the legend.
    grey = np.asarray(image.convert("L")).astype(np.float64)[..., None]
    labelled = label != index.ignore_label
    pixels = np.repeat(0.35 * grey + 160, 3, axis=-1)
    pixels[labelled] = (1 - _OVERLAY) * grey[labelled] + _OVERLAY * colors[label[labelled]]
    result = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    draw, font = ImageDraw.Draw(result), ImageFont.load_default(size=15)
    taken: list[tuple[float, float, float, float]] = []
    ids, counts = np.unique(label[labelled], return_counts=True)
    for class_id in ids[np.argsort(-counts)]:
        region = label == class_id
        if region.mean() < _SMALLEST_SHARE:
            continue
        name = _short(index.names[class_id])
        half = draw.textlength(name, font) / 2 + 2
        x, y = _inside(region)
        x = min(max(x, half), image.width - half)
        y = min(max(y, 9.0), image.height - 9.0)
        box = (x - half, y - 9, x + half, y + 9)
        if any(_cross(box, other) for other in taken):
            continue
        taken.append(box)
        draw.text((x, y), name, "white", font, anchor="mm", stroke_width=2, stroke_fill="black")
    return result


def _inside(region: NDArray[np.bool_]) -> tuple[float, float]:
    """A point (x, y) well inside a region: the middle of the longest run near its centre row."""
    rows = np.flatnonzero(region.any(axis=1))
    weights = region.sum(axis=1)[rows]
    row = rows[np.searchsorted(weights.cumsum(), weights.sum() / 2)]
    edges = np.flatnonzero(np.diff(np.concatenate(([0], region[row].astype(np.int8), [0]))))
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return float(starts[longest] + ends[longest]) / 2, float(row)


def _cross(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _legend(
    present: list[int], colors: NDArray[np.uint8], index: BenchmarkIndex, width: int
) -> Image.Image:
    font, line = ImageFont.load_default(size=15), 24
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    places, x, y = [], 0.0, 0
    for class_id in present:
        name = _short(index.names[class_id])
        length = 24 + ruler.textlength(name, font) + 18
        if x + length > width:
            x, y = 0.0, y + line
        places.append((x, y, name, class_id))
        x += length
    legend = Image.new("RGB", (width, y + line), _BACKGROUND)
    draw = ImageDraw.Draw(legend)
    for left, upper, name, class_id in places:
        draw.rectangle((left, upper + 3, left + 16, upper + 19), tuple(colors[class_id].tolist()))
        draw.text((left + 22, upper + 11), name, "black", font, anchor="lm")
    return legend


def _short(name: str) -> str:
    """The first of a list of synonyms, as a picture has room for."""
    return name.split(",")[0].strip()
