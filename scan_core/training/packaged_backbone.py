"""The small Swin that comes with the package: taken from a segmenter, and what its card says."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

_PREFIX = "proposal_network.backbone."
_CARD = """# mini_swin: a small Swin transformer of the miniature world

It stands in the demo where the paper's recipes download ImageNet's Swin: a backbone that has seen
pictures before the segmenter's training begins. {parameters:.2f} million parameters in half
precision.

## Training

From nothing, as the backbone of a segmenter of the recipe `mini`: {steps:,} steps of {batch_size}
on the {images:,} training images of seed {seed}, in which none but the training vocabulary's
classes (and lamps and pools, without a label) occur; the rest of that segmenter was thrown away.
No picture of a benchmark is among them, and no class that is called unseen.

    make weights        # trains one like it: about 6 minutes on two idle cores

`segmenter.backbone.weights: none` begins from nothing in its place.

## Numbers

Intersection over union in the training vocabulary, on its `val` split, of the segmenter that it was
taken from, without CLIP: {miou:.1%}.

## Limits

Textures and shapes of the miniature world are all that it has seen.
"""


def backbone_weights(segmenter: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's weights, by its own names, of a file that `train_segmenter` made."""
    return {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in segmenter.items()
        if name.startswith(_PREFIX)
    }


def card(weights: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """The card of the packaged Swin, in Markdown.

    Args:
        weights: of the backbone.
        header: of its file: `training`, that block of the recipe; `images`, `seed`, `miou`.
    """
    return _CARD.format(
        parameters=sum(tensor.numel() for tensor in weights.values()) / 1e6,
        **header,
        **header["training"],
    )
