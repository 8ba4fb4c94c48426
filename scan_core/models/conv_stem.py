"""The stem of the miniature world's CLIP: a few convolutions in place of a patch embedding."""

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

LEAST_CHANNELS = 8
_MIXED = 2  # how many of the last steps have a residual convolution


class ConvStem(nn.Module):
    """Takes the place of a small vision transformer's patch embedding.

    A linear one needs far more pictures than a miniature world has before it can tell shapes apart;
    a few convolutions learn them in minutes.

    Every step halves the size; the last one has `width` channels. The last two have a residual
    convolution behind them: shapes are told apart there, and an earlier one costs more than it
    brings. Batch norms, whose statistics are fixed after training: those of a single image would
    depend on how much of a masked crop is empty.

    Args:
        width: channels of the tokens.
        patch_size: side of a patch, pixels; a power of two.
    """

    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        steps = round(math.log2(patch_size))
        depths = [max(LEAST_CHANNELS, width // 2**step) for step in reversed(range(steps))]
        self.halvings = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
            for inputs, outputs in pairwise([3, *depths])
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(depth) for depth in depths)
        mixed = depths[-_MIXED:]
        self.mixes = nn.ModuleList(nn.Conv2d(d, d, 3, padding=1, bias=False) for d in mixed)
        self.mix_norms = nn.ModuleList(nn.BatchNorm2d(depth) for depth in mixed)
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, width, S / patch, S / patch)."""
        x = images
        unmixed = len(self.halvings) - len(self.mixes)
        for step, (halve, norm) in enumerate(zip(self.halvings, self.norms, strict=True)):
            x = F.gelu(norm(halve(x)))
            if step >= unmixed:
                mix, mix_norm = self.mixes[step - unmixed], self.mix_norms[step - unmixed]
                x = x + F.gelu(mix_norm(mix(x)))
        return self.project(x)
