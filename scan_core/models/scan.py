"""The SCAN network: proposals, enriched by CLIP, and what classifies them."""

import torch
from open_clip import CLIP
from torch import Tensor, nn
from torch.nn import functional as F

from scan_core.models.backbone import Backbone
from scan_core.models.clip import ImageTower, WholeImageTokens, encode_whole_images
from scan_core.models.mask_decoder import MaskDecoder, Proposals
from scan_core.models.pixel_decoder import PixelDecoder
from scan_core.models.semantic_integration import SemanticIntegration


class ProposalNetwork(nn.Module):
    """Mask proposals with embeddings, for normalised images.

    Args:
        backbone: gives feature maps at strides 4, 8, 16 and 32.
        pixel_decoder: makes mask features of them.
        mask_decoder: makes proposals of these.
    """

    def __init__(
        self, backbone: Backbone, pixel_decoder: PixelDecoder, mask_decoder: MaskDecoder
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pixel_decoder = pixel_decoder
        self.mask_decoder = mask_decoder

    def forward(self, pixels: Tensor, every_output: bool = False) -> Proposals:
        """Propose masks.

        Args:
            pixels: (B, 3, H, W) float, normalised by `PIXEL_MEAN` and `PIXEL_STD` and then
                padded with zeros; H and W are multiples of 32.
            every_output: see `MaskDecoder.forward`.
        """
        maps = self.backbone(pixels)
        return self.mask_decoder(self.pixel_decoder(maps), every_output)


class ScanNetwork(nn.Module):
    """Everything with weights, in one module.

    Args:
        proposal_network: proposes masks with embeddings.
        semantic_integration: enriches the embeddings; None: they are used as they are.
        clip: its text tower embeds class names; its image tower, once fine-tuned with masks,
            classifies masked crops.
        original_clip: image tower of the CLIP before fine-tuning; it looks at whole images.
    """

    def __init__(
        self,
        proposal_network: ProposalNetwork,
        semantic_integration: SemanticIntegration | None,
        clip: CLIP,
        original_clip: ImageTower,
    ) -> None:
        super().__init__()
        self.proposal_network = proposal_network
        self.semantic_integration = semantic_integration
        self.no_object_embedding = nn.Parameter(torch.empty(1, original_clip.output_dim))
        nn.init.normal_(self.no_object_embedding, std=original_clip.output_dim**-0.5)
        self.clip = clip
        self.original_clip = original_clip
        for frozen in (self.clip, self.original_clip):
            frozen.requires_grad_(False)

    def train(self, mode: bool = True) -> "ScanNetwork":
        """Training mode for all but CLIP, which is frozen: its statistics must not move."""
        super().train(mode)
        self.clip.eval()
        self.original_clip.eval()
        return self

    def forward(
        self, pixels: Tensor, clip_images: Tensor, text_features: Tensor, scale: float | Tensor
    ) -> tuple[Tensor, Proposals]:
        """What the segmenter is trained on: all decoder outputs.

        Args:
            pixels: (B, 3, H, W), the backbone's input.
            clip_images: (B, 3, S, S), the whole images for the frozen CLIP.
            text_features: (K, E), of unit length.
            scale: of the cosine similarities.

        Returns:
            class logits (L, B, Q, K + 1), no-object last, and the proposals.
        """
        proposals = self.proposal_network(pixels, every_output=True)
        embeddings = self.embed(proposals, self.view(clip_images))
        return class_logits(embeddings, self.with_no_object(text_features), scale), proposals

    def view(self, clip_images: Tensor) -> WholeImageTokens:
        """The frozen CLIP's view of whole images.

        Args:
            clip_images: (B, 3, S, S), from `images.resize_for_clip`.
        """
        layers = self.semantic_integration.clip_layers if self.semantic_integration else ()
        with torch.no_grad():
            return encode_whole_images(self.original_clip, clip_images, layers)

    def embed(self, proposals: Proposals, view: WholeImageTokens) -> Tensor:
        """The embeddings that are compared to class names.

        Args:
            proposals: of B images.
            view: of the same images.

        Returns:
            (L, B, Q, E), not normalised.
        """
        if self.semantic_integration is None:
            return proposals.embeddings
        context = self.semantic_integration.context(view)
        return self.semantic_integration(proposals.embeddings, context)

    def with_no_object(self, text_features: Tensor) -> Tensor:
        """(K, E) text features and the learned no-object embedding, (K + 1, E)."""
        return torch.cat((text_features, F.normalize(self.no_object_embedding, dim=-1)))


def class_logits(embeddings: Tensor, text_features: Tensor, scale: float | Tensor) -> Tensor:
    """Scaled cosine similarities.

    Args:
        embeddings: (..., E), of any length.
        text_features: (K, E), of unit length.
        scale: of the similarities; the released model uses 100 in both branches, not CLIP's.

    Returns:
        (..., K).
    """
    return scale * F.normalize(embeddings, dim=-1) @ text_features.T
