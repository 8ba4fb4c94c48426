"""The class-agnostic half of the network: Swin, pixel decoder, mask decoder."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from transformers import SwinBackbone, SwinConfig
from transformers.models.swin.modeling_swin import SwinDropPath, SwinLayer

from scan_core.models.dropout import ImageNoise
from scan_core.models.mask_decoder import MaskDecoder, Proposals
from scan_core.models.pixel_decoder import PixelDecoder

# ImageNet's mean and standard deviation, RGB, on the 0..255 scale: the backbone's input.
PIXEL_MEAN = (123.675, 116.280, 103.530)
PIXEL_STD = (58.395, 57.120, 57.375)
# Images are padded to a multiple of this, the coarsest stride.
STRIDE = 32


def swin_backbone(
    embed_dim: int, depths: Sequence[int], heads: Sequence[int], window: int, drop_path: float
) -> SwinBackbone:
    """The Swin transformer with outputs at strides 4, 8, 16 and 32, each with its norm.

    It is transformers' own, which pads before it rolls, as the released one does.

    Args:
        embed_dim: channels of the first stage; each stage doubles them.
        depths: blocks of each stage.
        heads: attention heads of each stage.
        window: side of an attention window, tokens.
        drop_path: largest stochastic-depth rate, in training.
    """
    options: dict[str, Any] = {  # SwinConfig takes more than its signature says
        "embed_dim": embed_dim,
        "depths": list(depths),
        "num_heads": list(heads),
        "window_size": window,
        "drop_path_rate": drop_path,
        "out_features": [f"stage{stage}" for stage in range(1, len(depths) + 1)],
        "attn_implementation": "sdpa",
    }
    backbone = SwinBackbone(SwinConfig(**options))
    # The backbone reads nothing behind SwinModel's own final norm.
    backbone.swin.layernorm = nn.Identity()  # type: ignore[assignment]
    for layer in backbone.modules():
        if isinstance(layer, SwinLayer) and isinstance(layer.drop_path, SwinDropPath):
            layer.drop_path = ImageNoise(layer.drop_path.drop_prob, whole=True)  # type: ignore[assignment]
    return backbone


class ProposalNetwork(nn.Module):
    """Mask proposals with embeddings, for normalised images.

    Args:
        backbone: gives feature maps at strides 4, 8, 16 and 32.
        pixel_decoder: makes mask features of them.
        mask_decoder: makes proposals of these.
    """

    def __init__(
        self, backbone: SwinBackbone, pixel_decoder: PixelDecoder, mask_decoder: MaskDecoder
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
        maps = self.backbone(pixels).feature_maps
        return self.mask_decoder(self.pixel_decoder(maps), every_output)
