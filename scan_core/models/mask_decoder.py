"""Masked-attention decoder (Mask2Former), with an embedding head in place of a classifier."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scan_core.models.attention import Attention, Mlp, sine_positions
from scan_core.models.pixel_decoder import PixelFeatures


@dataclass
class Proposals:
    """Mask proposals of a batch, of one or of several decoder outputs.

    The first axis holds the decoder's outputs, the last layer's at its end: L = 1 of them at
    inference, one before the first layer and one after each in training. (Not frozen, because
    Lightning Fabric rebuilds what a module returns.)

    Attributes:
        embeddings: (L, B, Q, E), for classification, in CLIP's space.
        mask_embeddings: (L, B, Q, M).
        mask_features: (B, M, H, W) at stride 4.
    """

    embeddings: Tensor
    mask_embeddings: Tensor
    mask_features: Tensor

    @property
    def mask_logits(self) -> Tensor:
        """(B, Q, H, W), the last output's mask logits at stride 4."""
        return torch.einsum("bqm,bmhw->bqhw", self.mask_embeddings[-1], self.mask_features)


class DecoderLayer(nn.Module):
    """Masked cross-attention, self-attention, feed-forward; a norm after each."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.cross_attn = Attention(width, heads)
        self.cross_norm = nn.LayerNorm(width)
        self.self_attn = Attention(width, heads)
        self.self_norm = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.ffn_norm = nn.LayerNorm(width)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(
        self, x: Tensor, query_positions: Tensor, memory: Tensor, positions: Tensor, allowed: Tensor
    ) -> Tensor:
        """Update the queries.

        Args:
            x: (B, Q, C).
            query_positions: (Q, C).
            memory: (B, S, C), one level's tokens.
            positions: (S, C).
            allowed: (B, Q, S) bool, where each query may look.

        Returns:
            (B, Q, C).
        """
        attended = self.cross_attn(x + query_positions, memory + positions, memory, allowed)
        x = self.cross_norm(x + attended)
        located = x + query_positions
        x = self.self_norm(x + self.self_attn(located, located, x))
        return self.ffn_norm(x + self.linear2(F.relu(self.linear1(x))))


class MaskDecoder(nn.Module):
    """Queries that look at one level after the other, each within its current mask.

    The released model has ten layers and eleven outputs; Mask2Former, given the same number,
    would build one layer fewer.

    Args:
        levels: feature levels.
        width: channels of the queries and of the levels.
        mask_width: channels of the mask features.
        embedding_width: of the embeddings, CLIP's.
        embedding_hidden: hidden width of the MLP that makes them.
        queries: mask proposals for each image.
        layers: decoder layers.
        heads: attention heads.
        feedforward: width of the feed-forward networks.
    """

    def __init__(
        self,
        levels: int,
        width: int,
        mask_width: int,
        embedding_width: int,
        embedding_hidden: int,
        queries: int,
        layers: int,
        heads: int,
        feedforward: int,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(width, heads, feedforward) for _ in range(layers))
        self.decoder_norm = nn.LayerNorm(width)
        self.query_feat = nn.Embedding(queries, width)
        self.query_embed = nn.Embedding(queries, width)
        self.level_embed = nn.Embedding(levels, width)
        self.class_embed = Mlp(width, embedding_hidden, embedding_width)
        self.mask_embed = Mlp(width, width, width, mask_width)

    def forward(self, features: PixelFeatures, every_output: bool = False) -> Proposals:
        """Propose masks.

        Args:
            features: of the pixel decoder, B images.
            every_output: give the output before the first layer and after each (training),
                instead of the last one's only.

        Returns:
            the proposals.
        """
        mask_features = features.mask_features
        memories, positions, small_features = [], [], []
        for level, embedding in zip(features.levels, self.level_embed.weight, strict=True):
            h, w = level.shape[2:]
            memories.append(level.flatten(2).transpose(1, 2) + embedding)
            positions.append(sine_positions(h, w, level.shape[1], level.device))
            # Resizing is linear: masks of this size come from features of this size.
            small = F.interpolate(mask_features.detach(), (h, w), mode="bilinear")
            small_features.append(small.flatten(2))

        x = self.query_feat.weight.expand(mask_features.shape[0], -1, -1)
        outputs = []
        for index, layer in enumerate(self.layers):
            level_index = index % len(memories)
            output = self.decoder_norm(x)
            outputs.append(output)
            with torch.no_grad():
                logits = self.mask_embed(output) @ small_features[level_index]
                inside = logits >= 0
                # A query whose mask is empty at this size looks everywhere.
                allowed = inside | ~inside.any(dim=-1, keepdim=True)
            x = layer(
                x, self.query_embed.weight, memories[level_index], positions[level_index], allowed
            )
        outputs.append(self.decoder_norm(x))
        stacked = torch.stack(outputs if every_output else outputs[-1:])
        return Proposals(self.class_embed(stacked), self.mask_embed(stacked), mask_features)
