"""Semantic integration module (SIM): CLIP's view of the whole image enriches the embeddings.

Patch tokens of some CLIP blocks pass a frequency filter and a projection and become the memory
of a cross-attention decoder; the projected [CLS] token is added as a prior; an encoder mixes
the channels of each embedding (SCAN, section 3.2; `docs/released_behaviour.md` says where the
released code differs from the paper).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scan_core.models.attention import Attention
from scan_core.models.clip import WholeImageTokens
from scan_core.models.dropout import SampleDropout
from scan_core.models.preprocessing import constant


@dataclass(frozen=True)
class ImageContext:
    """What the module knows of B images.

    Attributes:
        memory: (B, S, E), the projected patch tokens of all layers.
        prior: (B, E), the [CLS] feature, of unit length.
    """

    memory: Tensor
    prior: Tensor


class LowFrequencyEnhancement(nn.Module):
    """Filter in the frequency domain, two 1×1 convolutions there, and a residual connection.

    The filter is 1 − Gaussian, centred on the Nyquist frequency of the unshifted spectrum: it
    damps high frequencies, and the mean by a factor below one. Real and imaginary parts go
    through the convolutions side by side; of the inverse transform the real part is kept.

    Args:
        width: channels of the tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2 * width, 2 * width, 1)
        self.conv2 = nn.Conv2d(2 * width, 2 * width, 1)

    def forward(self, maps: Tensor, sigmas: Tensor) -> Tensor:
        """Enhance.

        Args:
            maps: (N, C, h, w), patch tokens as maps.
            sigmas: (N,), width of the Gaussian for each map, in frequency steps.

        Returns:
            (N, C, h, w).
        """
        h, w = maps.shape[2:]
        y = torch.arange(h, device=maps.device) - h // 2
        x = torch.arange(w, device=maps.device) - w // 2
        distance = (y[:, None] ** 2 + x**2).to(maps.dtype)
        keep = 1 - torch.exp(-distance / (2 * sigmas[:, None, None] ** 2))
        spectrum = torch.fft.fft2(maps) * keep[:, None]
        parts = torch.cat((spectrum.real, spectrum.imag), dim=1)
        real, imaginary = self.conv2(F.relu(self.conv1(parts))).chunk(2, dim=1)
        return maps + torch.fft.ifft2(torch.complex(real.float(), imaginary.float())).real


class FusionDecoder(nn.Module):
    """Cross-attention from the embeddings to the memory, with residuals, a norm between layers.

    Args:
        width: channels, CLIP's embedding width.
        heads: attention heads.
        layers: cross-attention layers.
    """

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.attention = nn.ModuleList(Attention(width, heads) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers - 1))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """(B, Q, E) and (B, S, E) to (B, Q, E)."""
        for attend, norm in zip(self.attention, [*self.norms, nn.Identity()], strict=True):
            x = norm(x + attend(x, memory, memory))
        return x


class EmbeddingEncoderLayer(nn.Module):
    """A transformer encoder layer for sequences of length one.

    The released encoder is given every embedding as a sequence of its own, so its attention is
    the output projection of the value projection, exactly: a token that attends to itself
    alone. The rows of `in_proj_weight` for queries and keys are kept for its checkpoints; they
    have no effect and no gradient.

    Args:
        width: channels.
        feedforward: width of the feed-forward network.
        dropout: in training.
    """

    def __init__(self, width: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads=1)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = SampleDropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ..., E) to (B, ..., E)."""
        width = x.shape[-1]
        attention = self.self_attn
        value = F.linear(
            x, attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
        )
        x = self.norm1(x + self.dropout(attention.out_proj(value)))
        hidden = self.dropout(F.relu(self.linear1(x)))
        return self.norm2(x + self.dropout(self.linear2(hidden)))


class SemanticIntegration(nn.Module):
    """The whole module.

    Args:
        clip_width: channels of CLIP's image tokens.
        width: of the embeddings, CLIP's.
        clip_layers: CLIP blocks (1-based) whose patch tokens are used.
        sigmas: width of the frequency filter's Gaussian for each of them.
        fusion_layers: cross-attention layers.
        encoder_layers: encoder layers.
        encoder_feedforward: width of their feed-forward network.
        heads: attention heads of the cross-attention.
        dropout: of the encoder, in training.
    """

    def __init__(
        self,
        clip_width: int,
        width: int,
        clip_layers: Sequence[int],
        sigmas: Sequence[float],
        fusion_layers: int,
        encoder_layers: int,
        encoder_feedforward: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.clip_layers, self.sigmas = tuple(clip_layers), tuple(sigmas)
        self.low_frequency = LowFrequencyEnhancement(clip_width)
        # Two linear layers without an activation between them, as released.
        self.projection = nn.Sequential(nn.Linear(clip_width, width), nn.Linear(width, width))
        self.fusion = FusionDecoder(width, heads, fusion_layers)
        self.prior_scale = nn.Parameter(torch.full((1,), 0.1))
        sizes = (width, encoder_feedforward, dropout)
        self.encoder = nn.Sequential(
            *(EmbeddingEncoderLayer(*sizes) for _ in range(encoder_layers))
        )

    def context(self, view: WholeImageTokens) -> ImageContext:
        """Digest CLIP's view of B images; it serves all decoder outputs.

        Args:
            view: with the patch tokens of `clip_layers`.
        """
        layers = torch.stack([view.patches[layer] for layer in self.clip_layers])
        count, batch, tokens, width = layers.shape
        side = int(tokens**0.5)
        maps = layers.flatten(0, 1).transpose(1, 2).unflatten(2, (side, side))
        sigmas = constant(self.sigmas, maps.device).repeat_interleave(batch)
        enhanced = self.low_frequency(maps, sigmas).flatten(2).transpose(1, 2)
        by_image = enhanced.view(count, batch, tokens, width).transpose(0, 1).flatten(1, 2)
        return ImageContext(self.projection(by_image), F.normalize(view.feature, dim=-1))

    def forward(self, embeddings: Tensor, context: ImageContext) -> Tensor:
        """Enrich embeddings.

        No embedding sees another one, so those of several decoder outputs go through together
        and the memory's keys and values are projected once.

        Args:
            embeddings: (L, B, Q, E).
            context: of the B images.

        Returns:
            (L, B, Q, E).
        """
        outputs, _, queries, _ = embeddings.shape
        x = embeddings.transpose(0, 1).flatten(1, 2)
        x = self.fusion(x, context.memory) + self.prior_scale * context.prior[:, None]
        return self.encoder(x).unflatten(1, (outputs, queries)).transpose(0, 1)
