"""An exported model: an image in, a class for every pixel out, as `Scan.segment` gives it.

from scan_core.apps.exported.model import ExportedModel

model = ExportedModel.open(Path("exported"))
class_map = model.segment("beach.jpg")    # (height, width): an index of model.text.names
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from scan_core.apps.exported.crops import draw_keys, masked_crops, pixel_key
from scan_core.apps.exported.folder import (
    CROPS,
    PROPOSALS,
    TEXT,
    ClassText,
    Description,
    read_description,
    read_text,
)
from scan_core.apps.exported.interpolation import Floats, resize_bilinear
from scan_core.apps.exported.scores import (
    class_logits,
    class_map,
    combine_scores,
    merge_synonyms,
    sigmoid,
)
from scan_core.apps.exported.views import Bytes, backbone_input, clip_view, padded_size
from scan_core.errors import InputError
from scan_core.models.resizing import resized
from scan_core.params.settings import TestSettings
from scan_core.storage.images import ImageLike, read_image

_CROPS_AT_ONCE = 8


@dataclass(frozen=True)
class Seen:
    """What the networks say about one view of an image.

    Attributes:
        masks: (Q, H, W), probabilities at the size of the resized image.
        embeddings: (Q, E), of the proposals.
        crop_features: (Q, E), CLIP's of the crops, zero where there is no crop; None: CLIP was not
            asked.
    """

    masks: Floats
    embeddings: Floats
    crop_features: Floats | None


class ExportedModel:
    """The graphs of a folder, ready for images.

    Args:
        description: of the model.
        proposals: the graph of that name.
        crops: the graph of that name.
        text: the class list.
        benchmark: whose test-time settings are used; None: the default ones.

    Raises:
        InputError: there are no settings for the benchmark, or the class list was made with other
            prompts than they want.
    """

    def __init__(
        self,
        description: Description,
        proposals: onnxruntime.InferenceSession,
        crops: onnxruntime.InferenceSession,
        text: ClassText,
        benchmark: str | None = None,
    ) -> None:
        self.description, self.text = description, text
        self.settings: TestSettings = description.test_settings.of(benchmark)
        if text.prompts != self.settings.prompts:
            raise InputError(
                f"the class list was made with the prompts '{text.prompts}', these settings want "
                f"'{self.settings.prompts}'; make another with `python -m scan_core.apps.export "
                "--format text`, with the same --benchmark"
            )
        self._proposals, self._crops = proposals, crops

    @classmethod
    def open(
        cls,
        folder: Path,
        text: Path | None = None,
        benchmark: str | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        threads: int = 0,
    ) -> "ExportedModel":
        """Open the folder of an exported model.

        Args:
            folder: that `python -m scan_core.apps.export` has written.
            text: another class list; None: the folder's own.
            benchmark: whose test-time settings are used; None: the default ones.
            providers: onnxruntime's, by preference.
            threads: that an operator runs on; 0: one for each core.

        Raises:
            InputError: no exported model, a damaged one, or a class list that does not fit it.
        """
        description = read_description(folder)
        listed = read_text(text or folder / TEXT, description)
        proposals, crops = (
            open_graph(folder / name, providers, threads) for name in (PROPOSALS, CROPS)
        )
        return cls(description, proposals, crops, listed, benchmark)

    def segment(self, image: ImageLike) -> NDArray[np.int32]:
        """The class of every pixel, an index of `text.names`.

        Args:
            image: a file, a Pillow image, or an array (H, W, 3) uint8, RGB.

        Returns:
            (H, W).

        Raises:
            InputError: an unreadable image, or one that is too large for the graphs.
        """
        pixels = read_image(image)
        size = (pixels.shape[0], pixels.shape[1])
        views = []
        for scale in self.settings.scales:
            for mirrored in (False, True) if self.settings.flip else (False,):
                shown = np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels
                views.append((self.encode(self._resized(shown, scale)), mirrored))
        scores = np.concatenate([self.score(seen) for seen, _ in views])
        masks = views[0][0].masks
        if len(views) > 1:
            masks = np.concatenate([_at_size(seen, mirrored, size) for seen, mirrored in views])
        return class_map(masks, scores, size)

    def encode(self, image: Bytes) -> Seen:
        """Run the networks.

        Args:
            image: (3, H, W), resized.

        Raises:
            InputError: no mask above the threshold, with the released defect.
        """
        masks, embeddings, cls = self.propose(image)
        asks_clip = (
            self.settings.clip_weight > 0 or self.description.defects["zero_weight_is_clip_only"]
        )
        features = self.describe(image, masks, cls) if asks_clip else None
        return Seen(masks, embeddings, features)

    def propose(self, image: Bytes) -> tuple[Floats, Floats, Floats]:
        """Masks, as in `Seen`, their embeddings, and CLIP's [CLS] tokens (blocks + 1, D).

        Args:
            image: (3, H, W), resized.
        """
        logits, embeddings, cls = self._proposals.run(
            ["mask_logits", "embeddings", "cls"],
            {
                "pixels": backbone_input(image, self.description),
                "clip_image": clip_view(image, self.description),
            },
        )
        padded = padded_size((image.shape[1], image.shape[2]), self.description.stride)
        full = resize_bilinear(logits, padded)[:, : image.shape[1], : image.shape[2]]
        return sigmoid(full), embeddings, cls

    def score(self, seen: Seen) -> Floats:
        """(Q, K): every proposal's score for every class."""
        text, settings = self.text, self.settings
        scale = settings.logit_scale
        factor = self.description.logit_scale if scale == "learned" else float(scale)
        with_void = np.concatenate((text.features, text.no_object))
        inside = class_logits(seen.embeddings, with_void, factor)
        if seen.crop_features is None:
            valid = np.zeros(len(inside), np.bool_)
            outside = inside[:, :-1]
        else:
            valid = seen.masks.max(axis=(1, 2)) > settings.mask_threshold
            outside = class_logits(seen.crop_features, text.features, factor)
        void = np.array([len(text.names)], np.int64)
        return combine_scores(
            merge_synonyms(inside, np.concatenate((text.owners, void))),
            merge_synonyms(outside, text.owners),
            valid,
            settings,
            self.description.defects["rejected_masks_score_one"],
            self.description.defects["zero_weight_is_clip_only"],
        )

    def describe(self, image: Bytes, masks: Floats, cls: Floats) -> Floats:
        """(Q, E): CLIP's features of the crops.

        Args:
            image: (3, H, W), resized.
            masks: (Q, H, W), probabilities.
            cls: (blocks + 1, D), the image's [CLS] tokens.

        Raises:
            InputError: see `encode`.
        """
        settings, model = self.settings, self.description
        crops = masked_crops(
            image, masks > settings.crop_threshold, model.crop, settings.crop_expansion
        )
        if not len(crops.queries) and model.defects["fail_without_masks"]:
            raise InputError(
                f"no mask of the image has a pixel above the threshold {settings.crop_threshold}, "
                "which the released model does not survive"
            )
        shares = np.zeros(model.crop_blocks - 1)
        keys = np.zeros((len(shares), len(crops.queries), model.crop_tokens), np.float32)
        image_key = pixel_key(image)
        for layer in settings.replace_layers:
            if layer <= len(shares) and settings.replace_ratio > 0:
                shares[layer - 1] = settings.replace_ratio
                drawn = draw_keys(model.seed, image_key, layer, len(masks), model.crop_tokens)
                keys[layer - 1] = drawn[crops.queries]
        features = np.zeros((len(masks), self.text.features.shape[1]), np.float32)
        for start in range(0, len(crops.queries), _CROPS_AT_ONCE):
            part = slice(start, start + _CROPS_AT_ONCE)
            (found,) = self._crops.run(
                ["features"],
                {
                    "crops": crops.images[part],
                    "masks": crops.masks[part],
                    "cls": cls,
                    "keys": keys[:, part],
                    "shares": shares,
                },
            )
            features[crops.queries[part]] = found
        return features

    def _resized(self, image: Bytes, scale: float) -> Bytes:
        settings, most = self.settings, self.description.largest_side
        short, longest = (
            round(scale * side) for side in (settings.short_side, settings.longest_side)
        )
        result = resized(image, short, longest)
        height, width = padded_size((result.shape[1], result.shape[2]), self.description.stride)
        if max(height, width) > most:
            raise InputError(
                f"an image of {image.shape[1]} x {image.shape[0]} pixels is shown to the networks "
                f"with {width} x {height}, and this model was exported for sides of up to {most}: "
                "cut it up, or export with a larger --largest-side"
            )
        return result


def open_graph(
    path: Path, providers: Sequence[str] = ("CPUExecutionProvider",), threads: int = 0
) -> onnxruntime.InferenceSession:
    """Load a graph.

    Args:
        path: of the `.onnx`; its weights may lie beside it.
        providers: onnxruntime's, by preference.
        threads: that an operator runs on; 0: one for each core.

    Raises:
        InputError: missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing; export the model again")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime's errors have no common class
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read ({reason}); export the model again") from None


def _at_size(seen: Seen, mirrored: bool, size: tuple[int, int]) -> Floats:
    masks = seen.masks[:, :, ::-1] if mirrored else seen.masks
    return resize_bilinear(masks, size)
