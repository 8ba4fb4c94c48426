"""What the networks say about an image, apart from what is made of it.

Masks, their embeddings, and CLIP's features of their crops depend on neither the class names
nor the ensemble. Everything after them is cheap: other names, other weights, other thresholds.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor
from torch.nn import functional as F

from scan_core.errors import InputError
from scan_core.inference.devices import tensor_float, tower_in
from scan_core.models.clip import ImageTower, blocks, chunk_size, encode_images_each_way
from scan_core.models.contextual_shift import (
    ContextualShift,
    background_patches,
    choose_tokens,
    choose_tokens_as_released,
    effective_layers,
    random_ranks,
)
from scan_core.models.cpu_linear import convolutional_linear
from scan_core.models.crops import MaskedCrops, masked_crops
from scan_core.models.preprocessing import backbone_input, padded_size, resize_for_clip
from scan_core.models.scan import ScanNetwork
from scan_core.params.schema.recipe import ReleasedDefects
from scan_core.params.settings import Precision, TestSettings


@dataclass(frozen=True)
class CropSetting:
    """What CLIP's features of the crops depend on.

    Attributes:
        threshold: pixels of a mask above this probability form its crop.
        expansion: of the masks' boxes; see `masked_crops`.
        replace_ratio: share of the background tokens that contextual shift replaces.
        replace_layers: blocks (1-based) after which it does; without a ratio, none.
        precision: see `TestSettings`.
    """

    threshold: float
    expansion: float
    replace_ratio: float
    replace_layers: tuple[int, ...]
    precision: Precision = "float32"

    @classmethod
    def of(cls, settings: TestSettings) -> "CropSetting":
        """The crops that some settings need."""
        return cls(
            settings.crop_threshold,
            settings.crop_expansion,
            settings.replace_ratio,
            settings.replace_layers if settings.replace_ratio > 0 else (),
            settings.precision,
        )

    @property
    def crops(self) -> tuple[float, float, Precision]:
        """Settings that agree in this look at the same crops with the same tower."""
        return self.threshold, self.expansion, self.precision


@dataclass(frozen=True)
class ImageFeatures:
    """What the networks say about one image.

    Attributes:
        size: height and width of the resized image.
        padded: height and width with padding, as the backbone saw it.
        mask_logits: (Q, h, w) float32, at stride 4 of the padded image.
        peaks: (Q,) float32, the largest probability of each mask.
        embeddings: (Q, E) float32, of the proposals, not normalised.
        crop_features: by setting (Q, E) float32, CLIP's features of the crops, not normalised;
            zero where a mask has no pixel above the threshold.
        cls: (blocks + 1, 1, D) float32, the [CLS] tokens that contextual shift writes.
        mirrored: whether this is a view of the image's mirror image.
    """

    size: tuple[int, int]
    padded: tuple[int, int]
    mask_logits: Tensor
    peaks: Tensor
    embeddings: Tensor
    crop_features: dict[CropSetting, Tensor]
    cls: Tensor
    mirrored: bool = False

    def masks(self) -> Tensor:
        """(Q, H, W) float32, probabilities at the size of the resized image."""
        logits = self.mask_logits.float()[None]
        full = F.interpolate(logits, self.padded, mode="bilinear")[0]
        return full[:, : self.size[0], : self.size[1]].sigmoid()


@dataclass(frozen=True)
class ImageViews:
    """What the networks say about an image in each of its views, at least one.

    With several views every proposal of every view counts: the class scores of a pixel are the
    mean over the views, up to a factor.
    """

    views: tuple[ImageFeatures, ...]

    @property
    def first(self) -> ImageFeatures:
        """Of the first view."""
        return self.views[0]

    def masks(self, size: tuple[int, int]) -> Tensor:
        """(Q, H, W) float32, probabilities of the proposals of all views.

        Args:
            size: height and width of the image; of a single view the masks are given at the
                size at which the networks saw it, and are resized later, in parts.
        """
        if len(self.views) == 1:
            return self.first.masks()
        found = []
        for view in self.views:
            masks = view.masks()
            masks = (masks.flip(2) if view.mirrored else masks)[None]
            found.append(F.interpolate(masks, size, mode="bilinear")[0])
        return torch.cat(found)


class ImageEncoder:
    """Runs the networks.

    Images are run one at a time, because what stands beside an image in a batch, the padding
    above all, would change its result; on a GPU the crops of one image fill a batch anyway.
    With the defects that concern batches, all images form one batch, as released.

    Args:
        network: its weights, in float32.
        seed: of contextual shift's draws.
        defects: which of the released defects to repeat.
        visual: what classifies masked crops; None: the network's CLIP, fine-tuned with masks.
    """

    def __init__(
        self,
        network: ScanNetwork,
        seed: int,
        defects: ReleasedDefects,
        visual: ImageTower | None = None,
    ) -> None:
        self.network = network
        self.visual = visual or network.clip.visual
        self.seed, self.defects = seed, defects
        self._tower = cache(partial(tower_in, self.visual))

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.no_object_embedding.device

    @torch.inference_mode()
    def encode(
        self,
        images: Sequence[Tensor],
        settings: Iterable[CropSetting],
        precision: Precision = "float32",
    ) -> list[ImageFeatures]:
        """Look at images.

        Args:
            images: of (3, H, W) uint8, already resized.
            settings: crops and shifts that are wanted; none: CLIP is not asked about crops.
            precision: of everything but CLIP on crops, which has that of its setting.

        Returns:
            for each image what was seen, on the network's device.

        Raises:
            InputError: an image has no mask above a threshold, with the released defect.
        """
        # Made from the pixels: an image has the same result wherever it comes from.
        keys = [pixel_key(image) for image in images]
        wanted = list(dict.fromkeys(settings))
        on_device = [image.to(self.device) for image in images]
        together = self.defects.nearest_padded_view or self.defects.first_image_context
        groups = [on_device] if together else [[image] for image in on_device]
        with convolutional_linear(self.network), tensor_float(precision):
            seen = [found for group in groups for found in self.propose(group)]
            if self.defects.first_image_context:
                seen = [replace(found, cls=seen[0].cls) for found in seen]
            return [
                self._with_crops(found, image, wanted, key)
                for found, image, key in zip(seen, on_device, keys, strict=True)
            ]

    def propose(self, images: Sequence[Tensor]) -> list[ImageFeatures]:
        """Masks and embeddings of one batch, without crops and peaks.

        Args:
            images: B of (3, H, W) uint8, on the network's device.

        """
        clip_input = self.network.original_clip.input
        view = self.network.view(
            resize_for_clip(images, clip_input, self.defects.nearest_padded_view)
        )
        proposals = self.network.proposal_network(backbone_input(images))
        embeddings = self.network.embed(proposals, view)[-1]
        logits = proposals.mask_logits
        return [
            ImageFeatures(
                size=(image.shape[1], image.shape[2]),
                padded=padded_size(images),
                mask_logits=logits[index],
                peaks=logits.new_empty(0),
                embeddings=embeddings[index],
                crop_features={},
                cls=view.cls[:, index : index + 1],
            )
            for index, image in enumerate(images)
        ]

    def _with_crops(
        self,
        image_features: ImageFeatures,
        image: Tensor,
        settings: Sequence[CropSetting],
        key: int,
    ) -> ImageFeatures:
        features: dict[CropSetting, Tensor] = {}
        masks = image_features.masks()
        for key_of_crops in dict.fromkeys(s.crops for s in settings):
            threshold, expansion, _ = key_of_crops
            crops = masked_crops(image, masks > threshold, self.visual.input, expansion)
            if not len(crops.queries) and self.defects.fail_without_masks:
                raise InputError(
                    f"no mask of the image has a pixel above the threshold {threshold}, which "
                    "the released model does not survive; set 'fail_without_masks: false'"
                )
            of_crops = [s for s in settings if s.crops == key_of_crops]
            encoded = self.encode_crops(crops, image_features.cls, of_crops, len(masks), key)
            features.update(zip(of_crops, encoded, strict=True))
        peaks = masks.flatten(1).amax(1)
        return replace(image_features, peaks=peaks, crop_features=features)

    @torch.inference_mode()
    def with_segments(
        self,
        image_features: ImageFeatures,
        image: Tensor,
        segments: Tensor,
        embeddings: Tensor,
        setting: CropSetting,
    ) -> ImageFeatures:
        """What the networks say about given masks, in place of the proposals; it has no masks.

        Args:
            image_features: of the image.
            image: (3, H, W) uint8, as it was encoded.
            segments: (N, H, W) bool, on the network's device.
            embeddings: (N, E), those that the segments take, of proposals.
            setting: of the crops.
        """
        with convolutional_linear(self.network), tensor_float(setting.precision):
            image = image.to(self.device)
            crops = masked_crops(image, segments, self.visual.input, setting.expansion)
            key, cls = pixel_key(image), image_features.cls
            (features,) = self.encode_crops(crops, cls, [setting], len(segments), key)
        return replace(
            image_features,
            mask_logits=image_features.mask_logits[:0],
            peaks=segments.flatten(1).any(1).float(),
            embeddings=embeddings,
            crop_features={setting: features},
        )

    def encode_crops(
        self,
        crops: MaskedCrops,
        cls: Tensor,
        settings: Sequence[CropSetting],
        queries: int,
        key: int,
    ) -> list[Tensor]:
        """CLIP's features of crops, with contextual shift.

        Args:
            crops: of one image.
            cls: (blocks + 1, 1, D), the image's [CLS] tokens.
            settings: ways to shift tokens, of one precision; what comes before all of them is
                computed once.
            queries: Q, proposals of the image.
            key: identifies the image.

        Returns:
            for each of the settings (Q, E) float32, zero where there is no crop.
        """
        features = [cls.new_zeros(queries, self.visual.output_dim) for _ in settings]
        shifts = [self.shift(crops, cls, setting, queries, key) for setting in settings]
        depth = len(blocks(self.visual))
        first = min((layer for shift in shifts for layer in shift.chosen), default=depth)
        (precision,) = {setting.precision for setting in settings}
        visual = self._tower(precision)
        step = chunk_size(visual, self.device)
        for start in range(0, len(crops.queries), step):
            part = slice(start, start + step)
            ways = [shift.part(part) for shift in shifts]
            found = encode_images_each_way(visual, crops.images[part], ways, first)
            for of_setting, of_part in zip(features, found, strict=True):
                of_setting[crops.queries[part]] = of_part
        return features

    def shift(
        self, crops: MaskedCrops, cls: Tensor, setting: CropSetting, queries: int, key: int
    ) -> ContextualShift:
        """Draw which tokens of which crop become the image's [CLS] token; see `encode_crops`."""
        ratio = setting.replace_ratio
        chosen: dict[int, Tensor] = {}
        if ratio == 0 or not len(crops.queries):
            return ContextualShift(chosen, cls)
        background = background_patches(crops.masks, self.visual.patch_size)
        for layer in effective_layers(setting.replace_layers, len(blocks(self.visual))):
            if self.defects.global_random_draws:
                chosen[layer] = choose_tokens_as_released(background, ratio)
            else:
                ranks = random_ranks(self.seed, key, layer, queries, background.shape[1])
                own = ranks.to(self.device)[crops.queries]
                chosen[layer] = choose_tokens(background, own, ratio)
        return ContextualShift(chosen, cls)


def pixel_key(image: Tensor) -> int:
    """A number that identifies an image by its pixels, (3, H, W) uint8."""
    return zlib.crc32(image.cpu().numpy().tobytes())
