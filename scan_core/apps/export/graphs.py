"""The network as two graphs: what proposes masks, and what looks at their crops.

They compute what `scan_core.inference.image_features` does with the same weights.
"""

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scan_core.models.clip import blocks, encode_images
from scan_core.models.clip_towers import VisionTransformer
from scan_core.models.contextual_shift import (
    ContextualShift,
    background_patches,
    replaced_counts,
)
from scan_core.models.deformable_attention import DeformableAttention
from scan_core.models.proposal_network import ProposalNetwork
from scan_core.models.scan import ScanNetwork


class ProposalGraph(nn.Module):
    """Proposals, their embeddings enriched by semantic integration, and CLIP's [CLS] tokens.

    Args:
        network: whose weights are shared.
    """

    def __init__(self, network: ScanNetwork) -> None:
        super().__init__()
        self.network = network
        whole = network.proposal_network
        decoder = copy.deepcopy(whole.pixel_decoder)
        for layer in decoder.layers:
            layer.self_attn = SampledAttention(cast(DeformableAttention, layer.self_attn))
        self.proposal_network = ProposalNetwork(whole.backbone, decoder, whole.mask_decoder)

    def forward(self, pixels: Tensor, clip_image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Look at one image.

        Args:
            pixels: (1, 3, H, W), see `preprocessing.backbone_input`.
            clip_image: (1, 3, S, S), see `preprocessing.clip_view`.

        Returns:
            mask logits (Q, H / 4, W / 4), embeddings (Q, E) and [CLS] tokens (blocks + 1, D).
        """
        view = self.network.view(clip_image)
        proposals = self.proposal_network(pixels)
        embeddings = self.network.embed(proposals, view)
        return proposals.mask_logits[0], embeddings[-1, 0], view.cls[:, 0]


class CropGraph(nn.Module):
    """CLIP's features of masked crops, with contextual shift.

    Args:
        visual: the image tower for crops.
    """

    def __init__(self, visual: VisionTransformer) -> None:
        super().__init__()
        self.visual = visual

    def forward(
        self, crops: Tensor, masks: Tensor, cls: Tensor, keys: Tensor, shares: Tensor
    ) -> Tensor:
        """Look at crops of one image.

        Args:
            crops: (N, 3, S, S), normalised.
            masks: (N, S, S) bool, their foreground.
            cls: (blocks + 1, D), the image's [CLS] tokens.
            keys: (blocks − 1, N, T), random numbers that order each crop's tokens, for the shift
                after each block but the last.
            shares: (blocks − 1,) float64, the share of the background tokens that becomes the
                image's [CLS] token after each block: 0 where nothing is shifted.

        Returns:
            (N, E), not normalised.
        """
        background = background_patches(masks, self.visual.patch_size)
        chosen = {
            number: _chosen(background, keys[number - 1], shares[number - 1])
            for number in range(1, len(blocks(self.visual)))
        }
        return encode_images(self.visual, crops, ContextualShift(chosen, cls[:, None]))


class SampledAttention(nn.Module):
    """`DeformableAttention` by ONNX's operators, for maps of any size.

    Args:
        attention: whose weights are used.
    """

    def __init__(self, attention: DeformableAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(
        self, query: Tensor, value: Tensor, sizes: Sequence[tuple[int, int]], places: Tensor
    ) -> Tensor:
        """See `DeformableAttention.forward`."""
        attention = self.attention
        batch, queries = query.shape[:2]
        shape = (batch, queries, attention.heads, attention.levels, attention.points)
        values = attention.value_proj(value).unflatten(-1, (attention.heads, -1))
        offsets = attention.sampling_offsets(query).view(*shape, 2)
        weights = attention.attention_weights(query).view(*shape[:3], -1).softmax(-1).view(shape)
        maps = values.permute(0, 2, 3, 1).flatten(0, 1).split([h * w for h, w in sizes], dim=2)
        summed = []
        for level, ((height, width), flat) in enumerate(zip(sizes, maps, strict=True)):
            # Sizes are symbols in the graph, of which no constant tensor can be made.
            extent = torch.stack(
                [torch.full((), side, dtype=torch.float32) for side in (width, height)]
            )
            # To grid_sample the borders of the map are -1 and 1.
            at = places[:, None, None] + offsets[:, :, :, level] / extent
            samples = F.grid_sample(
                flat.unflatten(2, (height, width)),
                (2 * at - 1).transpose(1, 2).flatten(0, 1),
                align_corners=False,
            )
            factors = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)
            summed.append((samples * factors[:, None]).sum(-1))
        together = torch.stack(summed).sum(0)
        projected: Tensor = attention.output_proj(
            together.unflatten(0, (batch, -1)).flatten(1, 2).mT
        )
        return projected


def _chosen(background: Tensor, keys: Tensor, share: Tensor) -> Tensor:
    """`choose_tokens`; ONNX has no stable sort, and its TopK takes the first of equal keys."""
    hidden = keys.masked_fill(~background, float("inf"))
    order = hidden.topk(keys.shape[1], dim=1, largest=False).indices
    places = torch.arange(keys.shape[1]).expand_as(order)
    rank = torch.zeros_like(order).scatter(1, order, places)
    return rank < replaced_counts(background, share)[:, None]
