"""CLIP fine-tuned with masks: masked crops with contextual shift, against their nouns."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from scan_core.models.clip import blocks, encode_images, view_whole_images
from scan_core.models.clip_towers import CLIP, VisionTransformer
from scan_core.models.contextual_shift import (
    ContextualShift,
    background_patches,
    choose_tokens,
    choose_tokens_as_released,
    layers_in_reach,
)


def shifted_image_features(
    clip: CLIP,
    original: VisionTransformer,
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
        cls = view_whole_images(original, images).cls
    background = background_patches(masks, clip.visual.patch_size)
    within = layers_in_reach(layers, len(blocks(clip.visual)))
    if generators is None:
        chosen = {layer: choose_tokens_as_released(background, ratio) for layer in within}
    elif within:
        shape = (len(within), *background.shape[1:])
        keys = torch.stack([torch.rand(shape, generator=g) for g in generators], dim=1)
        if background.is_cuda and torch.cuda.is_available():
            keys = keys.pin_memory()
        keys = keys.to(background.device, non_blocking=True)
        chosen = {
            layer: choose_tokens(background, drawn, ratio)
            for layer, drawn in zip(within, keys, strict=True)
        }
    else:
        chosen = {}
    features = encode_images(clip.visual, crops, ContextualShift(chosen, cls))
    return F.normalize(features, dim=-1)


def contrastive_loss(image_features: Tensor, text_features: Tensor, scale: Tensor) -> Tensor:
    """CLIP's symmetric loss: each crop is to find its text among the batch, and the reverse.

    Args:
        image_features: (N, E) of unit length.
        text_features: (N, E) of unit length.
        scale: scalar factor of the similarities.

    Returns:
        scalar.
    """
    logits = scale * image_features @ text_features.T
    truth = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2


def multi_positive_loss(
    image_features: Tensor, text_features: Tensor, owner: Tensor, scale: Tensor
) -> Tensor:
    """The symmetric loss where several images share a text: equal texts count as one.

    Every image is to find its text among the U texts; every text is to spread evenly over its
    images among the N. With all texts different it equals `contrastive_loss`.

    Args:
        image_features: (N, E) of unit length.
        text_features: (U, E) of unit length.
        owner: (N,) int64, the text of each image; every text is some image's.
        scale: scalar factor of the similarities.

    Returns:
        scalar.
    """
    logits = scale * image_features @ text_features.T
    to_text = F.cross_entropy(logits, owner)
    fits = F.one_hot(owner, len(text_features)).T.to(logits.dtype)
    to_image = F.cross_entropy(logits.T, fits / fits.sum(dim=1, keepdim=True))
    return (to_text + to_image) / 2
