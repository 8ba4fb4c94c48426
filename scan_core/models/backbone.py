"""Backbones: what gives the pixel decoder its four feature maps."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from scan_core.errors import InputError

STRIDES = [4, 8, 16, 32]


class Backbone(nn.Module):
    """What a backbone has to be.

    Attributes:
        channels: of its maps, the finest first.
        window: side of the windows, in tokens, to whole ones of which it pads its maps.
    """

    channels: Sequence[int]
    window: int = 1

    @abstractmethod
    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, H, W), H and W multiples of 32, to four (B, C, H', W') at `STRIDES`."""


class TimmBackbone(Backbone):
    """A model of timm, by its `features_only`.

    Raises:
        InputError: timm has no such model, or its maps have other strides.
    """

    body: Any  # of timm, which has no types

    def __init__(self, model: str) -> None:
        super().__init__()
        import timm  # comes with open_clip

        try:
            self.body = timm.create_model(model, features_only=True, pretrained=False)
        except RuntimeError as error:
            raise InputError(f"segmenter.backbone.name: timm has no such model: {error}") from None
        strides = list(self.body.feature_info.reduction())
        channels_last = str(getattr(self.body, "output_fmt", "")).endswith("NHWC")
        if channels_last or not set(STRIDES) <= set(strides):
            raise InputError(
                f"segmenter.backbone.name: {model} of timm cannot be used: needed are maps of (B, "
                f"C, H, W) at the strides {STRIDES}, its are {strides}. ConvNeXt and ResNet can be"
            )
        self._chosen = [strides.index(stride) for stride in STRIDES]
        self.channels = [self.body.feature_info.channels()[index] for index in self._chosen]

    def forward(self, pixels: Tensor) -> list[Tensor]:
        maps = self.body(pixels)
        return [maps[index] for index in self._chosen]
