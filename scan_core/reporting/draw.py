"""Everything that draws label maps: colours over an image, names on them, legends, panels."""

import colorsys
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo
from scipy.ndimage import distance_transform_edt, maximum_position
from scipy.ndimage import label as connected_regions

from scan_core.datasets.index import load_index
from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.evaluation.confusion import mean_iou
from scan_core.params.classifiers import CLASSIFIERS
from scan_core.storage.files import atomic_path
from scan_core.storage.images import read_label
from scan_core.vocabulary.classes import ClassList, load_class_list

DRAWN = ("in_vocabulary", "clip_only", "combined")
# Rank of an image, 1 being the best -> what its row is called; the typical one comes first.
_RANKS = {0.5: "median", 1.0: "best", 0.75: "upper quartile", 0.25: "lower quartile", 0.0: "worst"}
_FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
_OPACITY = 0.7
_EDGE, _PAPER = (30, 30, 30), (250, 250, 250)
# Distance from the border of a region to its middle, pixels, from which on it gets a name: the
# widest region of its class, and a further one.
_SMALLEST_DEPTH, _WIDE = 6, 16
_SMALLEST_SHARE = 0.005  # classes below this share of the image get no name
_HATCH = 9  # pixels between the lines over what is wrong
_TILE, _GAP, _LINE, _SWATCH = 240, 12, 26, 16  # pixels
_SIDES = (640, 1280)  # the longer side of an overlay is brought between these, pixels
_MOST = 24  # classes in the legend of an overlay
_CANDIDATES = 200  # images that are ranked, evenly taken from the benchmark


def class_colors(number: int, background: int | None = None) -> NDArray[np.uint8]:
    """Distinct colours, the same on every call: hues by the golden ratio, in three shades.

    Args:
        number: of classes.
        background: the class that is grey, if there is one.

    Returns:
        (number, 3) uint8, RGB.
    """
    shades = [(0.75, 0.95), (0.95, 0.70), (0.50, 0.85)]
    colors = [
        colorsys.hsv_to_rgb(i * 0.618034 % 1, *shades[i % len(shades)]) for i in range(number)
    ]
    pixels = np.round(np.array(colors).reshape(-1, 3) * 255).astype(np.uint8)
    if background is not None:
        pixels[background] = 110
    return pixels


def written(names: Sequence[str]) -> list[str]:
    """Names as pictures have room for them: the first synonym, or the class's number.

    A class is written by its number where the font lacks a letter of its name.
    """
    first = [name.split(",")[0].strip() for name in names]
    return [
        name if _glyphs().issuperset(map(ord, name)) else f"class {number}"
        for number, name in enumerate(first)
    ]


def draw_label_map(
    photo: Image.Image,
    labels: NDArray[np.int32],
    names: Sequence[str],
    colors: NDArray[np.uint8],
    wrong: NDArray[np.bool_] | None = None,
) -> Image.Image:
    """Colour classes over an image and name their regions; the rest of the image stays, paler.

    Args:
        photo: in the size of the result.
        labels: (H, W), an index of `names`, −1 for none; scaled to the photo.
        names: of the classes.
        colors: (K, 3), of the classes.
        wrong: (H, W), pixels to hatch.
    """
    labels = _scaled(labels, photo.size)
    pixels = np.asarray(photo, dtype=np.float32)
    # Over grey, so that a colour looks as it does in the legend.
    grey = 0.4 * np.asarray(photo.convert("L"), dtype=np.float32)[..., None] + 140
    painted = (1 - _OPACITY) * grey + _OPACITY * colors[labels]
    painted = np.where(labels[..., None] >= 0, painted, 0.5 * pixels + 0.5 * 255)
    dark = np.zeros(labels.shape, dtype=bool)
    dark[1:] |= labels[1:] != labels[:-1]
    dark[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    if wrong is not None:
        diagonals = np.add.outer(*map(np.arange, labels.shape)) % _HATCH == 0
        dark |= diagonals & _scaled(wrong.astype(np.int32), photo.size).astype(bool)
    painted[dark] = _EDGE
    picture = Image.fromarray(painted.astype(np.uint8))
    _write_names(picture, labels, written(names))
    return picture


def draw_overlay(
    image: NDArray[np.uint8],
    class_map: NDArray[np.int32],
    names: Sequence[str],
    scores: Mapping[int, float],
    background: int | None = None,
) -> Image.Image:
    """A segmentation over its image, and a legend: share of the pixels and score of each class.

    Args:
        image: (H, W, 3) uint8, RGB.
        class_map: (H, W), an index of `names` for every pixel.
        names: of the classes.
        scores: of the classes that are there.
        background: the class that gets neither colour nor name on the image.
    """
    colors = class_colors(len(names), background)
    labels = class_map if background is None else np.where(class_map == background, -1, class_map)
    longest = int(np.clip(max(image.shape[:2]), *_SIDES))
    picture = draw_label_map(_resized(image, longest), labels, names, colors)
    ids, areas = np.unique(class_map, return_counts=True)
    order = np.argsort(-areas, kind="stable")[:_MOST]
    texts, parts = written(names), areas[order] / class_map.size
    shares = [f"{100 * part:.0f} %" if part >= 0.01 else "< 1 %" for part in parts]
    entries = {
        f"{texts[c]}   {share}, score {scores[c]:.2f}": colors[c]
        for c, share in zip(ids[order].tolist(), shares, strict=True)
    }
    more = f"and {len(ids) - len(order)} smaller ones" if len(ids) > len(order) else ""
    legend = _legend(entries, max(picture.width, 360) - 2 * _GAP, more)
    return _beside([picture, _framed(legend)], 0, below=True)


def draw_sheet(index_path: Path, output: Path, samples: int = 8) -> None:
    """Draw samples of a benchmark, evenly taken from its last split, with a legend.

    Args:
        index_path: the benchmark's `index.json`.
        output: PNG to write, atomically; its text `benchmark` is the benchmark's name.
        samples: how many.

    Raises:
        InputError: the index or an image cannot be read.
    """
    split = list(load_index(index_path).splits)[-1]
    images = BenchmarkImages(index_path, split)
    names = images.index.names
    colors, texts = class_colors(len(names)), written(names)
    tiles, present = [], set()
    for number in _evenly(range(len(images)), samples):
        photo, label = _resized(images.image(number), _TILE), images.label(number)
        present |= set(np.unique(label[label >= 0]).tolist())
        tiles.append(_beside([photo, draw_label_map(photo, label, names, colors)]))
    rows = [_beside(tiles[start : start + 2], 2 * _GAP) for start in range(0, len(tiles), 2)]
    width = max(row.width for row in rows)
    title = f"{images.index.name}: {split}, {len(images)} images, {len(names)} classes"
    legend = _legend({texts[c]: colors[c] for c in sorted(present)}, width)
    about = PngInfo()
    about.add_text("benchmark", images.index.name)
    with atomic_path(output) as temporary:
        sheet = _beside([_text(title, 20), *rows, legend], below=True)
        _framed(sheet).save(temporary, pnginfo=about)


def qualitative(index: Path, classes: str, predictions: Path, output: Path) -> None:
    """Draw panels of a benchmark: image, ground truth, and the predictions of every classifier.

    The images are those of median, best, upper and lower quartile, and worst mIoU, the combined
    classifier's. The text `rows` of the PNG lists the lower ends of their rows, in pixels.

    Args:
        index: index.json of the benchmark.
        classes: its class list, or a .json file.
        predictions: folder of the maps, CLASSIFIER/IMAGE.png, of training ids.
        output: PNG to write.

    Raises:
        InputError: the class list is another, no image has all predictions, or a prediction does
            not fit its image.
    """
    images, listed = BenchmarkImages(index, "val"), load_class_list(classes)
    if len(images.index.names) != len(listed):
        raise InputError(
            f"the benchmark {images.index.name} has {len(images.index.names)} classes, the class "
            f"list {listed.name} {len(listed)}; name the class list that it was converted with"
        )
    available = [
        n
        for n in range(len(images))
        if all((predictions / name / f"{images.stem(n)}.png").is_file() for name in DRAWN)
    ]
    if not available:
        raise InputError(
            f"{predictions} holds predictions of no image of {images.index.name}; expected "
            f"<classifier>/<image>.png of {', '.join(DRAWN)}. Evaluate again."
        )
    ious = {
        n: _miou(images.label(n), _predicted(images, listed, predictions / "combined", n))
        for n in _evenly(available, _CANDIDATES)
    }
    ranked = sorted(ious, key=ious.__getitem__)
    chosen: dict[int, str] = {}
    for rank, word in _RANKS.items():
        chosen.setdefault(ranked[round(rank * (len(ranked) - 1))], word)
    titles = ["image", "ground truth", *(CLASSIFIERS[name] for name in DRAWN)]
    rows = [_beside([_text(title, 18, _TILE) for title in titles])]
    for number, word in chosen.items():
        about = f"{word} of {len(ranked)} images: mIoU {100 * ious[number]:.0f} %"
        rows.append(_panel_row(images, listed, predictions, number, about))
    # For a page that shows the first image alone.
    ends = np.cumsum([_GAP + row.height for row in rows])[1:] + _GAP // 2
    text = PngInfo()
    text.add_text("rows", json.dumps(ends.tolist()))
    with atomic_path(output) as temporary:
        _framed(_beside(rows, below=True)).save(temporary, pnginfo=text)


def _panel_row(
    images: BenchmarkImages, classes: ClassList, predictions: Path, number: int, about: str
) -> Image.Image:
    truth, photo = images.label(number), _resized(images.image(number), _TILE)
    maps = [_predicted(images, classes, predictions / name, number) for name in DRAWN]
    counted = truth >= 0
    maps = [truth, *(np.where(counted, labels, -1) for labels in maps)]
    # Few classes are shown at once, so that their colours are farther apart than all classes'.
    shown = list(dict.fromkeys(c for labels in maps for c in _large_classes(labels)))
    colors = np.full((len(classes), 3), 128, dtype=np.uint8)
    colors[shown] = class_colors(len(shown))
    tiles, captions = [photo], [about, ""]
    for labels in maps:
        wrong = labels != truth
        tiles.append(draw_label_map(photo, labels, classes.names, colors, wrong))
        if labels is not truth:
            right = 1 - wrong[counted].mean() if counted.any() else 0
            captions.append(f"{100 * right:.0f} % of pixels right")
    texts = written(classes.names)
    entries = {
        texts[c] + (" (unseen)" if classes.seen and not classes.seen[c] else ""): colors[c]
        for c in shown
    }
    cells = [
        [ImageOps.pad(tile, (_TILE, tile.height), color=_PAPER), _text(caption, 13, _TILE)]
        for tile, caption in zip(tiles, captions, strict=True)
    ]
    row = _beside([_beside(cell, 0, below=True) for cell in cells])
    return _beside([row, _legend(entries, row.width)], 4, below=True)


def _miou(truth: NDArray[np.int32], predicted: NDArray[np.int32]) -> float:
    """Mean IoU over the classes of an image's ground truth."""
    counted = truth >= 0
    side = int(max(truth.max(initial=0), predicted.max(initial=0))) + 2  # the last one is nothing
    cells = predicted[counted] * side + truth[counted]
    counts = np.bincount(cells, minlength=side * side).reshape(side, side)
    return mean_iou(counts) if counted.any() else 0.0


def _predicted(
    images: BenchmarkImages, classes: ClassList, folder: Path, number: int
) -> NDArray[np.int32]:
    path = folder / f"{images.stem(number)}.png"
    predicted = read_label(path).astype(np.int32)
    truth = images.label(number)
    if predicted.shape != truth.shape:
        raise InputError(
            f"{path} has the shape {predicted.shape}, its ground truth {truth.shape}; "
            "expected one training id for each pixel. Evaluate again."
        )
    if classes.predict_with is not None:
        # Predicted among more classes than are scored: all others are the background.
        predicted = predicted.clip(max=len(classes) - 1)
    if predicted.max() >= len(classes):
        raise InputError(
            f"{path} holds the id {predicted.max()}, but {classes.name} has only "
            f"{len(classes)} classes; evaluate again"
        )
    return predicted


def _evenly(numbers: Sequence[int], most: int) -> list[int]:
    places = np.linspace(0, len(numbers) - 1, min(most, len(numbers))).round()
    return [numbers[int(place)] for place in places]


def _resized(image: NDArray[np.uint8], longest: int) -> Image.Image:
    photo = Image.fromarray(image)
    scale = longest / max(photo.size)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    return photo.resize(size, Image.Resampling.BICUBIC)


def _scaled(labels: NDArray[np.int32], size: tuple[int, int]) -> NDArray[np.int32]:
    picture = Image.fromarray(labels.astype(np.int32))
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST))


def _large_classes(labels: NDArray[np.int32]) -> list[int]:
    """Classes of a map that are large enough to be seen, the largest first."""
    ids, counts = np.unique(labels[labels >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [int(ids[i]) for i in order if counts[i] >= _SMALLEST_SHARE * labels.size]


def _write_names(picture: Image.Image, labels: NDArray[np.int32], texts: Sequence[str]) -> None:
    """Write each class where it is widest, and after that again on its other wide regions."""
    draw, font = ImageDraw.Draw(picture), _font(14)
    taken: list[tuple[float, float, float, float]] = []
    for y, x, class_id in _places(labels):
        half = draw.textlength(texts[class_id], font) / 2 + 2
        x = min(max(x, half), picture.width - half)
        box = (x - half, y - 8.0, x + half, y + 8.0)
        if any(a[0] < box[2] and box[0] < a[2] and a[1] < box[3] and box[1] < a[3] for a in taken):
            continue
        taken.append(box)
        draw.text((x, y), texts[class_id], "white", font, "mm", stroke_width=2, stroke_fill="black")


def _places(labels: NDArray[np.int32]) -> list[tuple[int, float, int]]:
    """Where to write which class: (row, column, class), the most important first."""
    first, further = [], []
    for class_id in _large_classes(labels):
        # Distance of each pixel to the region's border, which the picture's frame is, too.
        depth = distance_transform_edt(np.pad(labels == class_id, 1))[1:-1, 1:-1]
        regions, number = connected_regions(depth > 0)
        positions = np.array(maximum_position(depth, regions, np.arange(1, number + 1)))
        depths = depth[tuple(positions.T)]
        order = np.argsort(-depths, kind="stable")
        places = [(int(y), float(x), class_id) for y, x in positions[order]]
        first += places[: int(depths.max() >= _SMALLEST_DEPTH)]
        further += places[1 : int((depths >= _WIDE).sum())]
    return first + further


def _legend(entries: Mapping[str, NDArray[np.uint8]], width: int, more: str = "") -> Image.Image:
    """Swatches and texts, line by line."""
    font = _font(14)
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    places, x, y = [], 0, 0
    for text in [*entries, *([more] if more else [])]:
        length = _SWATCH + 8 + round(ruler.textlength(text, font)) + 2 * _GAP
        if x and x + length > width:
            x, y = 0, y + _LINE
        places.append((x, y, text))
        x += length
        width = max(width, length)
    legend = Image.new("RGB", (width, y + _LINE), _PAPER)
    draw = ImageDraw.Draw(legend)
    for left, upper, text in places:
        if text in entries:
            box = (left, upper + 5, left + _SWATCH, upper + 5 + _SWATCH)
            draw.rounded_rectangle(box, 4, tuple(entries[text].tolist()), outline=_EDGE)
            left += _SWATCH + 8
        draw.text((left, upper + _LINE / 2), text, "black", font, anchor="lm")
    return legend


def _text(text: str, size: int, width: int = 0) -> Image.Image:
    """One line of text; in the middle of a width, if one is given."""
    font = _font(size)
    length = round(ImageDraw.Draw(Image.new("RGB", (1, 1))).textlength(text, font))
    line = Image.new("RGB", (max(width, length), size + 10), _PAPER)
    ImageDraw.Draw(line).text((line.width / 2, line.height / 2), text, "black", font, anchor="mm")
    return line


def _beside(pictures: Sequence[Image.Image], gap: int = _GAP, below: bool = False) -> Image.Image:
    """Pictures in a row, or one below the other."""
    axis, sizes = int(below), np.array([picture.size for picture in pictures])
    size = sizes.max(axis=0)
    size[axis] = sizes[:, axis].sum() + gap * (len(pictures) - 1)
    joined, place = Image.new("RGB", (int(size[0]), int(size[1])), _PAPER), [0, 0]
    for picture in pictures:
        joined.paste(picture, (place[0], place[1]))
        place[axis] += picture.size[axis] + gap
    return joined


def _framed(picture: Image.Image) -> Image.Image:
    return ImageOps.expand(picture, _GAP, _PAPER)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_FONT, size)


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(FT2Font(str(_FONT)).get_charmap())
