"""SCAN in three lines: build it, give it an image and class names, get a segmentation.

from scan_core.inference.scan import Scan

scan = Scan.from_checkpoint(Path("results/mini/model/scan.safetensors"))
result = scan.segment("beach.jpg", ["sea", "sand", "red ball"])
result.class_map    # (height, width): an index of the class names for every pixel
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scan_core.errors import InputError
from scan_core.inference.class_map import class_maps
from scan_core.inference.ensemble import InferenceSettings, combine_scores, merge_synonyms
from scan_core.inference.image_features import CropSetting, ImageEvidence, Observer
from scan_core.inference.segmentation import Segmentation, as_array
from scan_core.models.build import architecture_of, build_network, tokenizer_for
from scan_core.models.checkpoints import load_network, save_network
from scan_core.models.clip import Tokenizer
from scan_core.models.preprocessing import ImageLike, read_image, resize
from scan_core.models.scan import ScanNetwork, class_logits
from scan_core.models.text_features import TextEncoder
from scan_core.params.schema.inference import Inference
from scan_core.params.schema.recipe import Recipe
from scan_core.params.schema.released_defects import ReleasedDefects
from scan_core.vocabulary.prompts import prompt_templates

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# Of a recipe that has a setting for every benchmark, the one for images of no benchmark.
_COMMON = {
    "mask_threshold": 0.4,
    "clip_weight": 0.7,
    "replace_ratio": 0.05,
    "ensemble": "geometric",
}


def settings_for(inference: Inference, benchmark: str | None) -> InferenceSettings:
    """A recipe's settings for one benchmark.

    Args:
        inference: of the recipe.
        benchmark: its name; None: what the recipe says for all, or, where it has a table of
            benchmarks, a setting that serves all of them (threshold 0.4, weight 0.7, ratio 0.05).

    Raises:
        InputError: the recipe has no setting for it.
    """
    values: dict[str, Any] = {}
    for key, common in _COMMON.items():
        value = getattr(inference, key)
        if not isinstance(value, dict):
            values[key] = value
        elif benchmark is None:
            values[key] = common
        elif benchmark in value:
            values[key] = value[benchmark]
        else:
            raise InputError(f"'inference.{key}' has no value for the benchmark '{benchmark}'")
    threshold = inference.crop_threshold
    values["crop_threshold"] = None if threshold == "mask_threshold" else threshold
    values["prompts"] = None if inference.prompts == "trained" else inference.prompts
    return InferenceSettings(**values)


class Scan:
    """The model, ready for images and words.

    Built by `from_recipe` or `from_checkpoint`.

    Args:
        network: the weights.
        tokenizer: of its CLIP.
        header: what a checkpoint says besides: `prompts`, `inference`, `seed`, `defects`.
        device: `cpu`, `cuda`, `cuda:1`, ...
        precision: of CLIP on crops, nine tenths of the work: `float32`, `bfloat16`, `float16`.
        text_cache: folder where text features are kept for later processes.

    Attributes:
        settings: what `segment` uses unless told otherwise.
        sides: short and longest side that images are resized to, pixels.
        crop_expansion: of the boxes of masked crops.
    """

    def __init__(
        self,
        network: ScanNetwork,
        tokenizer: Tokenizer,
        header: Mapping[str, Any],
        device: str = "cpu",
        precision: str = "float32",
        text_cache: Path | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise InputError(f"precision '{precision}': expected {', '.join(PRECISIONS)}")
        self.header = dict(header)
        inference = header["inference"]
        self.settings = InferenceSettings(**inference["settings"])
        self.defects = ReleasedDefects(**header["defects"])
        self.sides: tuple[int, int] = (inference["short_side"], inference["longest_side"])
        self.network = network.to(device)
        self.crop_expansion: float = inference["crop_expansion"]
        self._scale = inference["logit_scale"]
        self._tokenizer, self._text_cache = tokenizer, text_cache
        self.text_encoder = self._text_encoder(header["prompts"])
        self.observer = Observer(
            network,
            inference["replace_layers"],
            header["seed"],
            self.defects,
            PRECISIONS[precision],
            self.crop_expansion,
        )

    def _text_encoder(self, prompts: str) -> TextEncoder:
        return TextEncoder(
            self.network.clip,
            self._tokenizer,
            prompt_templates(prompts),
            self._text_cache,
            stale=self.defects.stale_text_features,
        )

    @classmethod
    def from_recipe(cls, recipe: Recipe, benchmark: str | None = None, **options: Any) -> "Scan":
        """A model of the recipe's architecture, with random weights: to train, or to load into.

        Args:
            recipe: from `recipes.validate(...).recipes[name]`.
            benchmark: whose settings to use; see `settings_for`.
            options: `device`, `precision`, `text_cache`.

        Raises:
            InputError: the parts of the recipe do not fit together.
        """
        settings = settings_for(recipe.inference, benchmark)
        test = recipe.inference
        header = {
            "architecture": architecture_of(recipe.segmenter, recipe.clip),
            "prompts": recipe.clip.prompts,
            "seed": recipe.seed,
            "defects": recipe.defects.model_dump(),
            "inference": {
                "settings": asdict(settings),
                "short_side": test.short_side,
                "longest_side": test.longest_side,
                "replace_layers": test.replace_layers,
                "logit_scale": test.logit_scale,
                "crop_expansion": test.crop_expansion,
            },
        }
        return cls.from_header(header, **options)

    @classmethod
    def from_header(cls, header: Mapping[str, Any], **options: Any) -> "Scan":
        """A model with random weights, as the header of a checkpoint describes it.

        Args:
            header: see `Scan`; with the key `architecture`.
            options: `device`, `precision`, `text_cache`.
        """
        network = build_network(header["architecture"])
        return cls(network, tokenizer_for(header["architecture"]), header, **options)

    @classmethod
    def from_checkpoint(cls, path: Path | str, **options: Any) -> "Scan":
        """A model from a file that `save` wrote.

        Args:
            path: the checkpoint.
            options: `device`, `precision`, `text_cache`.

        Raises:
            InputError: unreadable, or not a checkpoint of this project.
        """
        network, header = load_network(Path(path))
        return cls(network, tokenizer_for(header["architecture"]), header, **options)

    def save(self, path: Path | str, **header: Any) -> None:
        """Write weights, architecture and settings to one file, atomically.

        Args:
            path: ends in `.safetensors`.
            header: anything else to be kept with it, such as the recipe's name.

        Raises:
            InputError: the weights were converted to a lower precision.
        """
        if self.observer.dtype != torch.float32:
            raise InputError("a model whose precision was lowered cannot be saved; save it before")
        save_network(Path(path), self.network, {**self.header, **header})

    @property
    def logit_scale(self) -> float:
        """Factor of the cosine similarities: a number of the recipe, or CLIP's own."""
        if self._scale == "learned":
            return float(self.network.clip.logit_scale.exp())
        return float(self._scale)

    def segment(
        self,
        image: ImageLike,
        class_names: Sequence[str],
        settings: InferenceSettings | None = None,
    ) -> Segmentation:
        """Segment one image.

        Args:
            image: a file, a Pillow image, or an array (H, W, 3) uint8, RGB.
            class_names: any words; every pixel gets one of them.
            settings: threshold, weight, ratio and kind of ensemble; None: `self.settings`.

        Raises:
            InputError: an unreadable image, no class name, or an empty one.
        """
        return self.segment_all([image], class_names, settings)[0]

    def segment_all(
        self,
        images: Sequence[ImageLike],
        class_names: Sequence[str],
        settings: InferenceSettings | None = None,
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
        wanted = [] if settings.clip_weight == 0 and not self._zero_is_clip else [settings]
        observed = self.observe(arrays, wanted)
        return [
            self._segmentation(evidence, text, class_names, settings, array.shape[:2])
            for evidence, array in zip(observed, arrays, strict=True)
        ]

    def embed(self, class_names: Sequence[str], prompts: str | None = None) -> Tensor:
        """(K + 1, E): the text features of class names, and the no-object embedding.

        Args:
            class_names: any words.
            prompts: set of templates around them; None: the one that the model was trained with.
        """
        encoder = self.text_encoder if prompts is None else self._text_encoder(prompts)
        with torch.inference_mode():
            return self.network.with_no_object(encoder(class_names))

    def observe(
        self,
        images: Sequence[ImageLike],
        settings: Sequence[InferenceSettings],
        scale: float = 1.0,
    ) -> list[ImageEvidence]:
        """Run the networks, once for all that the settings have in common.

        Args:
            images: see `segment`.
            settings: all that will be asked of the evidence.
            scale: of the resized image, for test-time augmentation.
        """
        resized = [self.resize(image, scale) for image in images]
        return self.observer.observe(resized, [crop_setting(s) for s in settings])

    def resize(self, image: ImageLike, scale: float = 1.0) -> Tensor:
        """(3, H, W) uint8: an image as the networks take it."""
        short, longest = (round(scale * side) for side in self.sides)
        return resize(read_image(image), short, longest)

    @torch.inference_mode()
    def score(
        self,
        evidence: ImageEvidence,
        text: Tensor,
        settings: InferenceSettings,
        owners: Sequence[int] | None = None,
    ) -> Tensor:
        """Score every proposal for every class.

        Args:
            evidence: from `observe`, with the crops that `settings` needs.
            text: from `embed`.
            settings: how to combine.
            owners: for each name its class, 0..K-1, where classes have several names; None:
                every name is a class of its own.

        Returns:
            (Q, K) float32.
        """
        inside = class_logits(evidence.embeddings, text, self.logit_scale)
        features = evidence.crop_features.get(crop_setting(settings))
        if features is None:
            valid = torch.zeros(len(inside), dtype=torch.bool, device=inside.device)
            outside = inside[:, :-1]
        else:
            peak = max(settings.mask_threshold, settings.pixel_threshold)
            valid = evidence.peaks > peak
            outside = class_logits(features, text[:-1], self.logit_scale)
        if owners is not None:
            inside = merge_synonyms(inside, [*owners, max(owners) + 1])
            outside = merge_synonyms(outside, owners)
        return combine_scores(
            inside,
            outside,
            valid,
            settings,
            rejected_score_one=self.defects.rejected_masks_score_one,
            zero_weight_is_clip_only=self._zero_is_clip,
        )

    @property
    def _zero_is_clip(self) -> bool:
        return self.defects.zero_weight_is_clip_only

    @torch.inference_mode()
    def _segmentation(
        self,
        evidence: ImageEvidence,
        text: Tensor,
        class_names: Sequence[str],
        settings: InferenceSettings,
        output_size: tuple[int, ...],
    ) -> Segmentation:
        scores = self.score(evidence, text, settings)
        (best,) = class_maps(evidence.masks(), [scores], (output_size[0], output_size[1]))
        return Segmentation(tuple(class_names), as_array(best), scores, evidence)


def crop_setting(settings: InferenceSettings) -> CropSetting:
    """Which crops some settings need."""
    return CropSetting(settings.pixel_threshold, settings.replace_ratio)


def with_clip_weight(settings: InferenceSettings, weight: float) -> InferenceSettings:
    """Other weight, all else equal: 0 is the segmenter alone, 1 CLIP alone."""
    return replace(settings, clip_weight=weight)
