"""Segment images with an exported model; PyTorch is not needed.

The graphs hold the method; what remains is to read, resize and pad an image, to draw the random
numbers of contextual shift, and to ask for the scores of some rows of the result at a time.
"""

import logging
import zlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image

from scan_core.apps.class_names import ClassNames, class_names
from scan_core.apps.model import ScoredMap
from scan_core.apps.segment import check_new, find_images, result_stems
from scan_core.errors import InputError
from scan_core.models.resizing import resized
from scan_core.params.command_line import run
from scan_core.params.settings import SettingsTable, TestSettings
from scan_core.storage.files import atomic_path, read_arrays, read_json
from scan_core.storage.images import read_image

FORMAT = 3
DESCRIPTION, TEXT = "model.json", "text.npz"
GRAPHS = ("proposals.onnx", "crops.onnx", "classes.onnx")
_CROPS_AT_ONCE = 16
_ELEMENTS_AT_ONCE = 2**22  # pixels × classes


def segment_exported(
    images: Annotated[tuple[str, ...], tyro.conf.Positional],
    model: Path,
    out: Path,
    classes: str | None = None,
    text: Path | None = None,
    benchmark: str | None = None,
    overlays: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Segment images with an exported model; PyTorch is not needed.

        python -m scan_core.apps.exported photos/ --model exported --out labels

    Writes a label map IMAGE.png for each image: the 0-based class index of each pixel, with 8
    bits, or 16 for more than 256 classes. `python -m scan_core.apps.score` takes these as
    predictions.

    Args:
        images: files, folders or glob patterns.
        model: folder of `python -m scan_core.apps.export`.
        out: folder for the label maps; it must be new or empty.
        classes: some of the exported words, in the forms of `python -m scan_core.apps.segment`
            (default: the exported class list).
        text: another class list's text.npz (default: the model's).
        benchmark: use the settings that the model was evaluated with on this benchmark.
        overlays: folder for pictures of the classes over the images, with a legend.
        overwrite: write over what is in these folders.
    """
    paths = find_images(images)
    for folder in (out, overlays):
        if folder is not None and not overwrite:
            check_new(folder)
    exported = ExportedModel(model, text, benchmark)
    wanted = exported.classes if classes is None else class_names(classes)
    for path, stem in result_stems(paths).items():
        logging.info("%s", path)
        image = read_image(path)
        found = exported.segment(image, wanted)
        depth = np.uint8 if len(wanted.names) <= 256 else np.uint16
        with atomic_path(out / f"{stem}.png") as temporary:
            Image.fromarray(found.class_map.astype(depth)).save(temporary)
        if overlays is not None:
            from scan_core.reporting.draw import draw_overlay

            with atomic_path(overlays / f"{stem}.png") as temporary:
                draw_overlay(image, found.class_map, wanted.names, found.scores()).save(temporary)


class ExportedModel:
    """A model of `python -m scan_core.apps.export`.

    Args:
        folder: of the model.
        text: another class list; None: the folder's own.
        benchmark: whose test-time settings are used; None: the default ones.
        threads: that an operator runs on; 0: one for each core.

    Raises:
        InputError: no exported model, a damaged one, or a class list that does not fit it.
    """

    def __init__(
        self, folder: Path, text: Path | None = None, benchmark: str | None = None, threads: int = 0
    ) -> None:
        hint = "make an exported model with `python -m scan_core.apps.export`"
        about = self.about = read_json(folder / DESCRIPTION, hint)
        self.text = read_arrays(text or folder / TEXT, hint)
        if about.get("format") != FORMAT:
            found = about.get("format")
            raise InputError(f"{folder} has format {found}, this version reads {FORMAT}; {hint}")
        if warning := about.get("warning"):  # of a model that knows only drawings
            logging.warning(warning)
        table = SettingsTable.from_dict(about["test_settings"])
        default = TestSettings.from_dict(about["settings"])
        self.settings = table.of(benchmark) if benchmark else default
        self.classes = ClassNames(tuple(tuple(c.split(" | ")) for c in self.text["classes"]))
        made_with = (about["checkpoint"], self.settings.prompts)
        if (str(self.text["checkpoint"]), str(self.text["prompts"])) != made_with:
            raise InputError(
                f"the words of {text or folder} were made with another checkpoint, or with other "
                f"prompts than '{self.settings.prompts}'; make them again with the same "
                "--checkpoint and --benchmark: `python -m scan_core.apps.export --format text`"
            )
        graphs = (open_graph(folder / name, threads) for name in GRAPHS)
        self._proposals, self._crops, self._classes = graphs

    def segment(self, image: NDArray[np.uint8], classes: ClassNames | None = None) -> ScoredMap:
        """The class of every pixel, and its score.

        Args:
            image: (H, W, 3), RGB.
            classes: of exported words; None: the exported class list.

        Raises:
            InputError: a word that was not exported.
        """
        settings, (height, width) = self.settings, image.shape[:2]
        words = self._words(classes or self.classes)
        views = []
        for scale in settings.scales:
            for mirrored in (False, True)[: 1 + settings.flip]:
                seen = self.look(image[:, ::-1] if mirrored else image, scale)
                columns = np.arange(width)
                views.append({**seen, **words, "columns": columns[::-1] if mirrored else columns})
        class_map = np.empty((height, width), np.int32)
        score_map = np.empty((height, width), np.float32)
        step = max(1, _ELEMENTS_AT_ONCE // (len(words["synonyms"]) * width))
        for first in range(0, height, step):
            rows = np.arange(first, min(first + step, height))
            asked = {"rows": rows, "target": np.array([height, width])}
            scores = sum(self._classes.run(None, {**view, **asked})[0] for view in views)
            class_map[rows], score_map[rows] = scores.argmax(0), scores.max(0).clip(max=1)
        return ScoredMap(class_map, score_map)

    def look(self, image: NDArray[np.uint8], scale: float) -> dict[str, Any]:
        """What the networks say about one view of an image, as inputs of the class graph."""
        settings, about = self.settings, self.about
        sides = (round(scale * s) for s in (settings.short_side, settings.longest_side))
        shown = resized(np.ascontiguousarray(image), *sides)
        size = np.array(shown.shape[1:])
        padding = -size % about["stride"]
        padded = {"image": np.pad(shown, [(0, 0), *((0, int(p)) for p in padding)]), "size": size}
        masks, embeddings, cls = self._proposals.run(None, padded)
        peaks = masks.max((1, 2))
        features, valid = np.zeros_like(embeddings), peaks > settings.mask_threshold
        if settings.clip_weight > 0:
            queries = np.flatnonzero(peaks > settings.crop_threshold)
            layers, _, tokens = next(i for i in self._crops.get_inputs() if i.name == "keys").shape
            shares = np.zeros(layers)
            keys = np.zeros((layers, len(masks), tokens), np.float32)
            for layer in settings.replace_layers if settings.replace_ratio > 0 else ():
                if layer <= layers:
                    shares[layer - 1] = settings.replace_ratio
                    keys[layer - 1] = _random(about["seed"], shown, layer, keys.shape[1:])
            for first in range(0, len(queries), _CROPS_AT_ONCE):
                part = queries[first : first + _CROPS_AT_ONCE]
                inputs = {
                    **padded,
                    "masks": masks[part],
                    "threshold": np.array([settings.crop_threshold], np.float32),
                    "expansion": np.array([settings.crop_expansion], np.float32),
                    "cls": cls,
                    "keys": keys[:, part],
                    "shares": shares,
                }
                (features[part],) = self._crops.run(None, inputs)
        else:
            valid[:] = False
        learned = settings.logit_scale == "learned"
        logit_scale = about["logit_scale"] if learned else settings.logit_scale
        return {
            "masks": masks,
            "size": size,
            "embeddings": embeddings,
            "features": features,
            "valid": valid,
            "logit_scale": np.array([logit_scale], np.float32),
            "clip_weight": np.array([settings.clip_weight], np.float32),
            "log_ensemble": np.array([settings.ensemble == "log"]),
        }

    def _words(self, classes: ClassNames) -> dict[str, Any]:
        known = {word: number for number, word in enumerate(self.text["words"].tolist())}
        if missing := [word for word in classes.words if word not in known]:
            raise InputError(
                f"'{missing[0]}' is not among the exported words; export it with `python -m "
                "scan_core.apps.export --format text` and name the file with --text"
            )
        most = max(map(len, classes.synonyms))
        ids = [[known[word] for word in words] for words in classes.synonyms]
        synonyms = np.array([row + row[:1] * (most - len(row)) for row in ids])
        return {
            "text": self.text["features"],
            "no_object": self.text["no_object"],
            "synonyms": synonyms,
        }


def open_graph(path: Path, threads: int = 0) -> Any:
    """Load an ONNX file for the CPU.

    Raises:
        InputError: missing or damaged.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, threads
    try:
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read ({reason}); export the model again") from None


def _random(
    seed: int, image: NDArray[np.uint8], layer: int, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """The numbers of `contextual_shift.random_ranks`, to the last bit.

    PyTorch's generator is the Mersenne Twister, of which it keeps the lowest 24 of 32 bits.
    """
    name = f"contextual shift/{seed}/{zlib.crc32(image.tobytes())}/{layer}".encode()
    twister = np.random.RandomState(zlib.crc32(name))
    drawn = twister.randint(0, 2**32, size=shape, dtype=np.uint32)
    return (drawn & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)


if __name__ == "__main__":
    run(segment_exported)
