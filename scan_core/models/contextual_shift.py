"""Contextual shift (CS): background tokens of a masked crop become the image's [CLS] token.

After some blocks of CLIP's image tower a share of the tokens that show no part of the mask is
overwritten by the [CLS] token that the frozen CLIP, looking at the whole image, has after the
same block (SCAN, section 3.3). Which tokens is drawn at random, for every crop and block anew.
"""

import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from open_clip import CLIP
from torch import Tensor
from torch.nn import functional as F

from scan_core.models.clip import ImageTower, blocks, encode_images, encode_whole_images


def background_patches(masks: Tensor, patch_size: tuple[int, int]) -> Tensor:
    """Patches without a single foreground pixel.

    Args:
        masks: (N, S, S) bool, the crops' foreground.
        patch_size: height and width of CLIP's patches, pixels.

    Returns:
        (N, T) bool, in raster order.
    """
    touched = F.max_pool2d(masks[:, None].float(), patch_size)
    return touched.flatten(1) == 0


def replaced_counts(background: Tensor, ratio: float | Tensor) -> Tensor:
    """How many tokens of each crop are replaced: ⌊ratio · background tokens⌋.

    Args:
        background: (N, T) bool.
        ratio: 0..1.

    Returns:
        (N,) int64.
    """
    # In float64, as Python multiplies: 0.15 · 20 is 3, in float32 as well as here.
    return (background.sum(1).double() * ratio).floor().long()


def random_ranks(seed: int, image_key: int, layer: int, crops: int, tokens: int) -> Tensor:
    """Random numbers that order the tokens of an image's crops.

    They depend on nothing but the arguments: not on the device, on other images, on how many
    crops are looked at together, nor on the ratio, so a larger ratio replaces the tokens of a
    smaller one and more.

    Args:
        seed: of the recipe.
        image_key: identifies the image.
        layer: the block (1-based).
        crops: one for every query, valid or not.
        tokens: patch tokens of a crop.

    Returns:
        (crops, tokens) float32 on the CPU.
    """
    name = f"contextual shift/{seed}/{image_key}/{layer}".encode()
    generator = torch.Generator().manual_seed(zlib.crc32(name))
    return torch.rand(crops, tokens, generator=generator)


def choose_tokens(background: Tensor, keys: Tensor, ratio: float) -> Tensor:
    """The tokens to replace: of each crop's background those with the smallest keys.

    Args:
        background: (N, T) bool.
        keys: (N, T) float.
        ratio: 0..1.

    Returns:
        (N, T) bool.
    """
    order = keys.masked_fill(~background, float("inf")).argsort(dim=1, stable=True)
    rank = torch.empty_like(order)
    positions = torch.arange(order.shape[1], device=order.device).expand_as(order)
    rank.scatter_(1, order, positions)
    return rank < replaced_counts(background, ratio)[:, None]


def choose_tokens_as_released(background: Tensor, ratio: float) -> Tensor:
    """The same, drawn one crop after the other from Python's global random state.

    Args:
        background: (N, T) bool.
        ratio: 0..1.

    Returns:
        (N, T) bool, on the device of `background`.
    """
    counts = replaced_counts(background, ratio).tolist()
    chosen = torch.zeros(background.shape, dtype=torch.bool)
    for row, (places, count) in enumerate(zip(background.cpu(), counts, strict=True)):
        candidates = places.nonzero()[:, 0]
        drawn = random.sample(range(len(candidates)), count)
        chosen[row, candidates[drawn]] = True
    return chosen.to(background.device)


@dataclass(frozen=True)
class ContextualShift:
    """What is written where, between the blocks of the image tower.

    Attributes:
        chosen: block (1-based) -> (N, T) bool, the patch tokens to overwrite.
        cls: (blocks + 1, N or 1, D), the whole images' [CLS] tokens after each block; 1: all
            crops are of one image.
    """

    chosen: Mapping[int, Tensor]
    cls: Tensor

    def __call__(self, number: int, x: Tensor) -> Tensor:
        """Shift the tokens after block `number`; for `clip.encode_images`.

        Args:
            number: the block (1-based).
            x: (N, 1 + T, D), the [CLS] token first.

        Returns:
            (N, 1 + T, D).
        """
        if number not in self.chosen:
            return x
        context = self.cls[number][:, None].to(x.dtype)
        patches = torch.where(self.chosen[number][..., None], context, x[:, 1:])
        return torch.cat((x[:, :1], patches), dim=1)

    def part(self, crops: slice) -> "ContextualShift":
        """The shift of some of the crops."""
        cls = self.cls if self.cls.shape[1] == 1 else self.cls[:, crops]
        return ContextualShift({layer: c[crops] for layer, c in self.chosen.items()}, cls)


def effective_layers(layers: Sequence[int], blocks: int) -> list[int]:
    """The replace layers that have an effect: after the last block nothing reads patch tokens."""
    return sorted(layer for layer in set(layers) if layer < blocks)


def shifted_image_features(
    clip: CLIP,
    original: ImageTower,
    crops: Tensor,
    masks: Tensor,
    images: Tensor,
    layers: Sequence[int],
    ratio: float,
    generators: Sequence[torch.Generator] | None,
) -> Tensor:
    """Features of masked crops, each with its own image as context.

    Args:
        clip: learns; the [CLS] tokens that are written into it carry no gradient.
        original: frozen image tower that looks at the whole images.
        crops: (N, 3, S, S), normalised, mean colour outside of the mask.
        masks: (N, S, S) bool.
        images: (N, 3, S, S), the whole images, normalised.
        layers: contextual shift, after which blocks (1-based).
        ratio: contextual shift, share of the background tokens.
        generators: of the draws, one for each crop, on the CPU; None: Python's global state, as
            released.

    Returns:
        (N, E) of unit length.
    """
    with torch.no_grad():
        cls = encode_whole_images(original, images).cls
    background = background_patches(masks, clip.visual.patch_size)
    within = effective_layers(layers, len(blocks(clip.visual)))
    if generators is None:
        chosen = {layer: choose_tokens_as_released(background, ratio) for layer in within}
    else:
        shape = (len(within), *background.shape[1:])
        keys = torch.stack([torch.rand(shape, generator=g) for g in generators], dim=1)
        if background.is_cuda and torch.cuda.is_available():
            keys = keys.pin_memory()
        keys = keys.to(background.device, non_blocking=True)
        chosen = {
            layer: choose_tokens(background, drawn, ratio)
            for layer, drawn in zip(within, keys, strict=True)
        }
    features = encode_images(clip.visual, crops, ContextualShift(chosen, cls))
    return F.normalize(features, dim=-1)
