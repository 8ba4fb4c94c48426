"""The class-agnostic half of the network: Swin, pixel decoder, mask decoder."""

from torch import Tensor, nn

from scan_core.models.mask_decoder import MaskDecoder, Proposals
from scan_core.models.pixel_decoder import PixelDecoder
from scan_core.models.swin import SwinBackbone

# ImageNet's mean and standard deviation, RGB, on the 0..255 scale: the backbone's input.
PIXEL_MEAN = (123.675, 116.280, 103.530)
PIXEL_STD = (58.395, 57.120, 57.375)
# Images are padded to a multiple of this, the coarsest stride.
STRIDE = 32


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
        maps = self.backbone(pixels)
        return self.mask_decoder(self.pixel_decoder(maps), every_output)
