"""`clip_finetune`: mask–noun pairs, and the fine-tuning of CLIP on them."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from scan_core.params.schema.fields import (
    BatchSize,
    Block,
    Count,
    Fraction,
    Layers,
    Precision,
    Queries,
    Weight,
)
from scan_core.params.settings import Precision as InferencePrecision


class MaskTextPairs(Block):
    """Mining of mask–noun pairs, on which CLIP is fine-tuned."""

    captions_per_image: PositiveInt
    """Captions of each training image whose nouns are used."""
    proposals: Queries
    """Proposals of the segmenter for each image, the best first."""
    images: PositiveInt | None = None
    """Training images with captions to mine, the first ones; `null`: all."""
    precision: InferencePrecision
    """Arithmetic of mining; see `inference.precision`."""


class ClipFinetune(Block):
    """Fine-tuning of CLIP's image tower on masked crops; the text tower stays frozen."""

    contextual_shift: bool
    """`false` fine-tunes, and then also tests, without the contextual shift (ablation)."""
    pairs: MaskTextPairs
    loss: Literal["diagonal", "multi_positive"]
    """Contrastive loss. `diagonal`: each crop fits its own noun alone, as released;
    `multi_positive`: crops of a batch that share a noun share it in the loss too."""
    epochs: PositiveInt
    """Passes over the pairs."""
    batch_size: BatchSize
    """Pairs a step, over all devices."""
    learning_rate: PositiveFloat
    """Peak of the cosine schedule."""
    weight_decay: Weight
    """AdamW's weight decay."""
    warmup_steps: Count
    """Linear warm-up, steps."""
    crop_threshold: Fraction
    """Pixels of a proposal above this probability form its crop."""
    crop_expansion: Annotated[float, Field(ge=1)]
    """Width and height of a crop, as a multiple of its mask's bounding box; 1: tight, as
    released."""
    replace_ratio: Fraction
    """Contextual shift while fine-tuning: share of background tokens replaced."""
    replace_layers: list[Layers]
    """Contextual shift while fine-tuning: after which blocks (1-based)."""
    precision: Precision
    """Arithmetic, in Lightning Fabric's words."""
