"""Evaluation of a benchmark's images: many settings in one pass, and counts that are kept."""

import logging
import shutil
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from scan_core.datasets.loading import BenchmarkImages
from scan_core.datasets.reading_ahead import read_ahead
from scan_core.errors import InputError
from scan_core.evaluation.confusion import as_evaluated, cells_and_pixels, predicted
from scan_core.evaluation.counts import (
    BANDS,
    ImageCounts,
    bands,
    image_counts,
    joined,
    load_counts,
    save_counts,
)
from scan_core.evaluation.settings_file import EvaluationSettings
from scan_core.inference.class_map import class_maps
from scan_core.inference.image_features import ImageFeatures, ImageViews
from scan_core.inference.scan import Scan
from scan_core.params.classifiers import CHANCE
from scan_core.params.command_line import Interrupted, stop_signals
from scan_core.params.settings import TestSettings
from scan_core.storage.files import atomic_path, file_digest, json_digest
from scan_core.vocabulary.classes import ClassList

# Images whose counts are written together: a killed evaluation repeats at most these.
CHUNK = 50


class CountStore:
    """A folder of counts and of label maps by their settings, so that only new ones are evaluated.

    Args:
        folder: of a shard.
        identity: hash of everything that counts depend on besides the settings. What the folder has
            of another identity is deleted.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder / identity
        for other in folder.glob("*"):
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)

    def load(self, numbers: range) -> dict[str, ImageCounts]:
        """The counts of some images that are there and can be read, by label."""
        found: dict[str, ImageCounts] = {}
        for path in self.folder.glob(f"{numbers.start}-{numbers.stop}.*.npz"):
            try:
                found |= load_counts(path)[0]
            except InputError as error:
                logging.warning("%s", error)
        return found

    def save(self, numbers: range, counts: Mapping[str, ImageCounts]) -> None:
        labels = zlib.crc32(",".join(sorted(counts)).encode())
        save_counts(self.folder / f"{numbers.start}-{numbers.stop}.{labels:08x}.npz", counts)

    def label_maps(self, label: str) -> Path:
        """The folder of what is predicted: training ids, `<stem>.png`."""
        return self.folder / "predictions" / label


def store_identity(model: Path, images: BenchmarkImages, classes: ClassList, code: str) -> str:
    """A hash of everything that counts depend on besides the settings.

    Args:
        model: the file of the weights.
        images: the benchmark's; its index has the digest of every image and label map.
        classes: what it is scored by.
        code: names what runs.
    """
    parts = [
        *(file_digest(model), file_digest(images.index_file), images.split),
        *(classes.names, predicted(classes).names, code),
    ]
    return json_digest(parts)[:16]


def evaluate_shard(
    scan: Scan,
    images: BenchmarkImages,
    classes: ClassList,
    wanted: EvaluationSettings,
    numbers: range,
    store: CountStore,
    chance: bool = False,
    drawn: int = 0,
    workers: int = 1,
) -> tuple[dict[str, ImageCounts], dict[str, float]]:
    """Count the pixels of a shard under all settings, those that the store does not have yet.

    Args:
        scan: the model.
        images: the benchmark's images.
        classes: what it is scored by.
        wanted: the settings.
        numbers: which of the images.
        store: of their counts.
        chance: also count the proposals with a random class for each.
        drawn: of how many images the classifiers' label maps are kept, the first ones.
        workers: threads that read images ahead.

    Returns:
        counts by the settings' key and `chance`, and as `<key>.<band>` those of the whole model in
        each of `counts.BANDS`; and the shard's `images`, those that were
        `counted` now, and the `seconds` that it took.

    Raises:
        InputError: an image or label map that is missing or another than the index says.
        Interrupted: a signal to stop came; the same call goes on with the chunk.
    """
    start, counted, parts = time.perf_counter(), 0, []
    whole = wanted.classifiers["combined"]
    labels = [*wanted.settings, *(f"{whole}.{band}" for band in BANDS), *[CHANCE] * chance]

    def to_draw(number: int) -> dict[str, Path]:
        keys = wanted.classifiers.values() if number - numbers.start < drawn else ()
        files = {key: store.label_maps(key) / f"{images.stem(number)}.png" for key in keys}
        return {key: path for key, path in files.items() if not path.is_file()}

    def observe(number: int, maps: Mapping[str, Tensor]) -> None:
        progress.update()
        for key, path in to_draw(number).items():
            _write_label_map(path, maps[key].cpu().numpy())
        if signals:
            raise Interrupted(signals[0])

    with stop_signals() as signals, tqdm(None, "images", len(numbers), mininterval=10) as progress:
        for first in range(numbers.start, numbers.stop, CHUNK):
            chunk = range(first, min(first + CHUNK, numbers.stop))
            found = store.load(chunk)
            missing = {label.partition(".")[0] for label in labels if label not in found}
            undrawn = {key for number in chunk for key in to_draw(number)}
            needed = {k: one for k, one in wanted.settings.items() if k in missing | undrawn}
            chance_too = chance and CHANCE not in found
            if needed or chance_too:
                # The proposals, to which random classes are given, come with any settings.
                needed = needed or dict([next(iter(wanted.settings.items()))])
                new = evaluate(
                    scan, images, classes, needed, chunk, chance_too, workers, observe, whole
                )
                store.save(chunk, new)
                found |= new
                counted += len(chunk)
            else:
                for number in chunk:
                    images.check(number)
            parts.append({label: found[label] for label in labels})
    seconds = time.perf_counter() - start
    return joined(parts), {"images": len(numbers), "counted": counted, "seconds": seconds}


@torch.inference_mode()
def evaluate(
    scan: Scan,
    images: BenchmarkImages,
    classes: ClassList,
    settings: Mapping[str, TestSettings],
    numbers: Sequence[int],
    chance: bool = False,
    workers: int = 1,
    observe: Callable[[int, Mapping[str, Tensor]], None] | None = None,
    whole: str = "",
) -> dict[str, ImageCounts]:
    """Count the pixels of images under all settings at once.

    Args:
        scan: the model.
        images: the benchmark's images.
        classes: what it is scored by; the names of `predict_with`, if any, are predicted.
        settings: by a label of one's choice, such as their key; at least one.
        numbers: which of the images.
        chance: also count, as `chance`, the proposals with a random class for each.
        workers: threads that read images ahead.
        observe: is called with the number of each image and its class maps (H, W) by label.
        whole: the label whose pixels are also counted in each of `counts.BANDS`, as
            `<label>.<band>`.

    Raises:
        InputError: an unreadable image, or a label map of another size than its image.
    """
    names = predicted(classes).names
    prompts = {one.prompts for one in settings.values()}
    text = {one: scan.embed(names, one) for one in prompts}
    rows = defaultdict[str, list[Any]](list)

    def read(number: int) -> tuple[int, NDArray[np.uint8], Tensor, dict[str, NDArray[np.bool_]]]:
        label = images.label(number)
        of_bands = bands(label) if whole in settings else {}
        return number, images.image(number), torch.from_numpy(label), of_bands

    for number, image, truth, of_bands in read_ahead(read, numbers, workers):
        size = (truth.shape[0], truth.shape[1])
        maps, seen = _class_maps(scan, image, settings, text, size)
        if chance:
            random = _random_scores(seen.first, len(names), images.stem(number))
            (maps[CHANCE],) = class_maps(seen.first.masks(), [random], size)
        found = {label: as_evaluated(one, classes) for label, one in maps.items()}
        compared = {label: (class_map, truth) for label, class_map in found.items()}
        # NumPy selects several times faster than PyTorch does on a CPU.
        arrays = [one.cpu().numpy() for one in (found[whole], truth)] if of_bands else []
        for band, inside in of_bands.items():
            predicted_there, truth_there = (torch.from_numpy(one[inside]) for one in arrays)
            compared[f"{whole}.{band}"] = predicted_there, truth_there
        for label, (class_map, labels) in compared.items():
            rows[label].append(cells_and_pixels(class_map, labels, len(classes)))
        if observe:
            observe(number, found)
    return {label: image_counts(of_label, len(classes)) for label, of_label in rows.items()}


def _class_maps(
    scan: Scan,
    image: NDArray[np.uint8],
    settings: Mapping[str, TestSettings],
    text: Mapping[str, Tensor],
    size: tuple[int, int],
) -> tuple[dict[str, Tensor], ImageViews]:
    """(H, W) int32 class maps by label, and the features of the first view.

    Settings with one view of the image share its features.
    """
    by_view = defaultdict[Any, list[str]](list)
    for label, one in settings.items():
        by_view[one.view].append(label)
    maps, seen = dict[str, Tensor](), list[ImageViews]()
    for labels in by_view.values():
        chosen = [settings[label] for label in labels]
        seen += scan.encode([image], chosen)
        scores = [scan.score(seen[-1], text[one.prompts], one) for one in chosen]
        maps.update(zip(labels, class_maps(seen[-1].masks(size), scores, size), strict=True))
    return maps, seen[0]


def _random_scores(image_features: ImageFeatures, classes: int, stem: str) -> Tensor:
    """One random class for each proposal, the same in every run."""
    generator = torch.Generator().manual_seed(zlib.crc32(stem.encode()))
    chosen = torch.randint(classes, (len(image_features.peaks),), generator=generator)
    return torch.nn.functional.one_hot(chosen, classes).to(image_features.peaks)


def _write_label_map(path: Path, array: NDArray[np.integer[Any]]) -> None:
    """8 bits where the ids fit, else 16."""
    kind = np.uint8 if array.max() < 256 else np.uint16
    with atomic_path(path) as temporary:
        Image.fromarray(array.astype(kind)).save(temporary)
