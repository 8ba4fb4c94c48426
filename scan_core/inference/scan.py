"""SCAN in three lines: build it, give it an image and class names, get a segmentation.

from scan_core.inference.scan import Scan

scan = Scan.from_checkpoint(Path("results/mini/release/model.safetensors"))
result = scan.segment("beach.jpg", ["sea", "sand", "red ball"])
result.class_map    # (height, width): an index of the class names for every pixel
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from scan_core.errors import InputError
from scan_core.inference.class_map import class_maps, combine_scores, merge_synonyms
from scan_core.inference.image_features import (
    CropSetting,
    ImageEncoder,
    ImageFeatures,
    ImageViews,
)
from scan_core.models.build import architecture_of, build_network
from scan_core.models.checkpoints import complete_header, load_network
from scan_core.models.clip import Tokenizer, tokenizer_for
from scan_core.models.preprocessing import resize
from scan_core.models.scan import ScanNetwork, class_logits
from scan_core.models.text_features import TextEncoder
from scan_core.params.schema.recipe import Recipe, ReleasedDefects
from scan_core.params.settings import SettingsTable, TestSettings, settings_table
from scan_core.storage.images import ImageLike, read_image
from scan_core.storage.weights import save_tensors
from scan_core.vocabulary.classes import prompt_templates


@dataclass(frozen=True)
class SegmentMask:
    """One proposal at the size of the image.

    Attributes:
        class_id: its best class, an index of the class names.
        class_name: the name.
        score: of that class, 0..1: the combined score of both classifiers.
        mask: (H, W) bool.
    """

    class_id: int
    class_name: str
    score: float
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Segmentation:
    """The result for one image.

    Attributes:
        class_names: K names, as they were given.
        class_map: (H, W) int32, an index of `class_names` for every pixel of the image.
        scores: (Q, K) float32, every proposal's score for every class.
        seen: what the networks saw.
    """

    class_names: tuple[str, ...]
    class_map: NDArray[np.int32]
    scores: Tensor
    seen: ImageViews

    def masks(self, threshold: float = 0.5, minimum_score: float = 0.0) -> Iterator[SegmentMask]:
        """The proposals, best first, each at the size of the image.

        They may overlap, and several may show the same thing; `class_map` is where they are
        weighed against each other. Masks are made one at a time, as they are asked for.

        Args:
            threshold: pixels above this probability belong to a mask; empty ones are left out.
            minimum_score: proposals whose best class scores less are left out.
        """
        best = self.scores.max(dim=1)
        size = (self.class_map.shape[0], self.class_map.shape[1])
        at_size = self.seen.masks(size)
        for query in best.values.argsort(descending=True).tolist():
            score = float(best.values[query])
            if score < minimum_score:
                return
            probability = F.interpolate(at_size[None, query : query + 1], size, mode="bilinear")
            mask = (probability[0, 0] > threshold).cpu().numpy()
            if mask.any():
                class_id = int(best.indices[query])
                yield SegmentMask(class_id, self.class_names[class_id], score, mask)


def as_array(class_map: Tensor) -> NDArray[np.int32]:
    """A class map on the CPU."""
    return class_map.to("cpu", torch.int32).numpy()


class Scan:
    """The model, ready for images and words.

    Built by `from_recipe` or `from_checkpoint`.

    Args:
        network: the weights.
        tokenizer: of its CLIP.
        header: what a checkpoint says besides: `test_settings`, `prompts` (of the training),
            `seed`, `defects`.
        device: `cpu`, `cuda`, `cuda:1`, ...
        text_cache: folder where text features are kept for later processes.

    Attributes:
        settings: what `segment` uses unless told otherwise: the default of `settings_table`.
        settings_table: of the benchmarks that the model was evaluated on.
        image_encoder: runs the networks.
        original_image_encoder: the same, with the CLIP before fine-tuning for masked crops.
    """

    def __init__(
        self,
        network: ScanNetwork,
        tokenizer: Tokenizer,
        header: Mapping[str, Any],
        device: str = "cpu",
        text_cache: Path | None = None,
    ) -> None:
        self.header = dict(header)
        self.settings_table = SettingsTable.from_dict(header["test_settings"])
        self.settings = self.settings_table.default
        self.defects = ReleasedDefects(**header["defects"])
        self.network = network.to(device)
        self._tokenizer, self._text_cache = tokenizer, text_cache
        self._text_encoders: dict[str, TextEncoder] = {}
        self.text_encoder = self._text_encoder(header["prompts"])
        common = (network, int(header["seed"]), self.defects)
        self.image_encoder = ImageEncoder(*common)
        self.original_image_encoder = ImageEncoder(*common, network.original_clip)

    def _text_encoder(self, prompts: str) -> TextEncoder:
        if prompts not in self._text_encoders:
            self._text_encoders[prompts] = TextEncoder(
                self.network.clip,
                self._tokenizer,
                prompt_templates(prompts),
                self._text_cache,
                [self.header["architecture"].get(key) for key in ("clip", "clip_weights")],
                stale=self.defects.stale_text_features,
            )
        return self._text_encoders[prompts]

    @classmethod
    def from_recipe(cls, recipe: Recipe, **options: Any) -> "Scan":
        """A model of the recipe's architecture, with random weights: to train, or to load into.

        Args:
            recipe: from `reading.validate(...).recipes[name]`.
            options: `device`, `text_cache`.

        Raises:
            InputError: the parts of the recipe do not fit together.
        """
        header: dict[str, Any] = {
            "architecture": architecture_of(recipe.segmenter, recipe.clip),
            "prompts": recipe.clip.prompts,
            "seed": recipe.seed,
            "defects": recipe.defects.model_dump(),
            "test_settings": settings_table(recipe).as_dict(),
        }
        network = build_network(header["architecture"])
        return cls(network, tokenizer_for(header["architecture"]["clip"]), header, **options)

    @classmethod
    def from_checkpoint(
        cls, path: Path | str, test_settings: SettingsTable | None = None, **options: Any
    ) -> "Scan":
        """A model from a file.

        A release holds the settings that it was evaluated with. The workflow's `model/` holds
        weights alone, which several settings share.

        Args:
            path: the checkpoint.
            test_settings: instead of the file's.
            options: `device`, `text_cache`.

        Raises:
            InputError: unreadable, not a checkpoint of this project, or there are no settings.
        """
        network, header = load_network(Path(path))
        if test_settings is not None:
            header["test_settings"] = test_settings.as_dict()
        if "test_settings" not in header:
            raise InputError(
                f"{path} holds no test-time settings: it is a model of the workflow, not a "
                "release. Use results/<recipe>/release/model.safetensors, or name the recipe "
                "whose settings are meant (on a command line, --recipe)"
            )
        with complete_header(Path(path)):
            scan = cls(network, tokenizer_for(header["architecture"]["clip"]), header, **options)
        if scan.warning:
            logging.warning(scan.warning)
        return scan

    @property
    def warning(self) -> str | None:
        """What to tell of a model whose CLIP was trained on the miniature world; None of others.

        Only that CLIP has a convolutional stem; open_clip has none.
        """
        clip = self.header["architecture"]["clip"]
        if isinstance(clip, str) or clip["stem"] != "convolutional":
            return None
        return (
            "This model was trained on drawings and knows only the words of the miniature world. "
            "For photographs, import the published weights: docs/weights.md"
        )

    def save(self, path: Path | str, **header: Any) -> None:
        """Write weights, architecture and settings to one file, atomically.

        Args:
            path: ends in `.safetensors`.
            header: anything else to be kept with it, such as the recipe's name.
        """
        save_tensors(Path(path), self.network.state_dict(), {**self.header, **header})

    def logit_scale(self, settings: TestSettings | None = None) -> float:
        """Factor of the cosine similarities: a number, or CLIP's own where it is `learned`."""
        scale = (settings or self.settings).logit_scale
        return float(self.network.clip.logit_scale.exp() if scale == "learned" else scale)

    def segment(
        self,
        image: ImageLike,
        class_names: Sequence[str],
        settings: TestSettings | None = None,
    ) -> Segmentation:
        """Segment one image.

        Args:
            image: a file, a Pillow image, or an array (H, W, 3) uint8, RGB.
            class_names: any words; every pixel gets one of them.
            settings: such as `settings_table.of(benchmark)`; None: `self.settings`.

        Raises:
            InputError: an unreadable image, no class name, or an empty one.
        """
        return self.segment_all([image], class_names, settings)[0]

    def segment_all(
        self,
        images: Sequence[ImageLike],
        class_names: Sequence[str],
        settings: TestSettings | None = None,
    ) -> list[Segmentation]:
        """Segment several images. Each has the result that it would have alone.

        Args:
            images: see `segment`.
            class_names: see `segment`.
            settings: see `segment`.
        """
        settings = settings or self.settings
        text = self.embed(class_names, settings.prompts)
        arrays = [read_image(image) for image in images]
        found = []
        for seen, array in zip(self.encode(arrays, [settings]), arrays, strict=True):
            size = (array.shape[0], array.shape[1])
            scores = self.score(seen, text, settings)
            with torch.inference_mode():
                (best,) = class_maps(seen.masks(size), [scores], size)
            found.append(Segmentation(tuple(class_names), as_array(best), scores, seen))
        return found

    def embed(self, class_names: Sequence[str], prompts: str | None = None) -> Tensor:
        """(K + 1, E): the text features of class names, and the no-object embedding.

        Args:
            class_names: any words.
            prompts: set of templates around them; None: that of `self.settings`.
        """
        encoder = self._text_encoder(prompts or self.settings.prompts)
        with torch.inference_mode():
            return self.network.with_no_object(encoder(class_names))

    def encode(
        self, images: Sequence[ImageLike], settings: Sequence[TestSettings]
    ) -> list[ImageViews]:
        """Run the networks, once for all that the settings have in common.

        Args:
            images: see `segment`.
            settings: all that will be asked of the result, at least one, all of one `view`; with
                a `clip_weight` of 0, CLIP is not asked about crops.

        Raises:
            InputError: an unreadable image.
            ValueError: settings that show the networks different images.
        """
        if len({one.view for one in settings}) != 1:
            raise ValueError("the settings differ in what the networks are shown; encode by view")
        always = self.defects.zero_weight_is_clip_only
        wanted = [CropSetting.of(one) for one in settings if one.clip_weight > 0 or always]
        arrays = [read_image(image) for image in images]
        by_view: list[list[ImageFeatures]] = []
        for scale in settings[0].scales:
            for mirrored in (False, True) if settings[0].flip else (False,):
                shown = [np.ascontiguousarray(a[:, ::-1]) if mirrored else a for a in arrays]
                resized = [self.resize(image, settings[0], scale) for image in shown]
                found = self.image_encoder.encode(resized, wanted, precision=settings[0].precision)
                by_view.append([replace(one, mirrored=mirrored) for one in found])
        return [ImageViews(views) for views in zip(*by_view, strict=True)]

    def resize(
        self, image: ImageLike, settings: TestSettings | None = None, scale: float = 1.0
    ) -> Tensor:
        """(3, H, W) uint8: an image as the networks take it."""
        chosen = settings or self.settings
        short, longest = (round(scale * side) for side in (chosen.short_side, chosen.longest_side))
        return resize(read_image(image), short, longest)

    @torch.inference_mode()
    def score(
        self,
        seen: ImageViews,
        text: Tensor,
        settings: TestSettings,
        owners: Sequence[int] | None = None,
    ) -> Tensor:
        """Score every proposal, those of all views, for every class.

        Args:
            seen: from `encode`, with the crops that `settings` needs.
            text: from `embed`.
            settings: how to combine.
            owners: for each name its class, 0..K-1, where classes have several names; None:
                every name is a class of its own.

        Returns:
            (Q, K) float32.
        """
        scale, crops = self.logit_scale(settings), CropSetting.of(settings)
        found = []
        for view in seen.views:
            inside = class_logits(view.embeddings, text, scale)
            if crops in view.crop_features:
                valid = view.peaks > settings.mask_threshold
                outside = class_logits(view.crop_features[crops], text[:-1], scale)
            else:
                valid = torch.zeros(len(inside), dtype=torch.bool, device=inside.device)
                outside = inside[:, :-1]
            if owners is not None:
                inside = merge_synonyms(inside, [*owners, max(owners) + 1])
                outside = merge_synonyms(outside, owners)
            scores = combine_scores(
                inside,
                outside,
                valid,
                settings,
                rejected_score_one=self.defects.rejected_masks_score_one,
                zero_weight_is_clip_only=self.defects.zero_weight_is_clip_only,
            )
            found.append(scores)
        return torch.cat(found)
