"""`segmenter`: the proposal network and its training."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from scan_core.params.schema.fields import (
    INITIAL_WEIGHTS,
    WEIGHTS,
    Attention,
    Block,
    Fraction,
    InputSize,
    Layers,
    LogitScale,
    Optimisation,
    Pixels,
    Points,
    Precision,
    Queries,
    Weight,
    Width,
    source,
)


class Backbone(Block):
    """The network that turns an image into feature maps at strides 4, 8, 16 and 32."""

    name: Annotated[str, source("swin", prefixes=("timm:",))] = "swin"
    """`swin`: Swin transformer of the dimensions below, as in the paper; `timm:<model>`, such as
    `timm:convnext_tiny`: a model of timm, which has its own dimensions, without weights."""
    weights: Annotated[str, source("none", prefixes=("download:", "file:"))]
    """ImageNet weights: `none`, `download:<name>` or `file:<path>`."""
    embed_dim: Width
    """Channels of the first stage."""
    depths: Annotated[list[Layers], Field(min_length=4, max_length=4)]
    """Blocks of each of the four stages."""
    heads: Annotated[list[Width], Field(min_length=4, max_length=4)]
    """Attention heads of each stage."""
    window: Width
    """Side of an attention window, tokens."""
    drop_path: Fraction
    """Largest stochastic-depth rate; 0 with a model of timm, whose draws would depend on the number
    of devices."""

    @model_validator(mode="after")
    def _consistent(self) -> "Backbone":
        if self.name != "swin" and (self.weights != "none" or self.drop_path):
            raise ValueError(f"'name: {self.name}' needs 'weights: none' and 'drop_path: 0'")
        return self


class PixelDecoder(Attention):
    """Multi-scale deformable attention over strides 8–32, and the mask features at stride 4."""

    mask_width: Width
    """Channels of the mask features."""
    layers: Layers
    """Deformable encoder layers."""
    points: Width
    """Sampling points for each head and level."""
    feedforward: Width
    """Width of the feed-forward network."""


class MaskDecoder(Attention):
    """Masked-attention decoder."""

    queries: Queries
    """Mask proposals for each image."""
    layers: Layers
    """Decoder layers. The released model has 10, one more than Mask2Former would build."""
    feedforward: Width
    """Width of the feed-forward network."""
    embedding_hidden: Width
    """Hidden width of the MLP from query to CLIP embedding."""


class SemanticIntegration(Block):
    """SIM: CLIP's tokens enrich the mask embeddings."""

    enabled: bool
    """`false` trains the segmenter without it (ablation)."""
    clip_layers: Annotated[list[Layers], Field(min_length=1)]
    """CLIP blocks (1-based) whose patch tokens are used."""
    sigmas: Annotated[list[PositiveFloat], Field(min_length=1)]
    """Width of the Gaussian of the frequency filter, one for each of `clip_layers`."""
    fusion_layers: Layers
    """Cross-attention layers from queries to CLIP tokens."""
    encoder_layers: Layers
    """Transformer layers after the [CLS] prior is added."""
    encoder_feedforward: Width
    """Width of their feed-forward network."""
    heads: Width
    """Attention heads."""
    dropout: Fraction
    """Dropout of the encoder."""

    @model_validator(mode="after")
    def _consistent(self) -> "SemanticIntegration":
        if len(self.sigmas) != len(self.clip_layers):
            raise ValueError("'sigmas' needs one number for each of 'clip_layers'")
        return self


class Loss(Block):
    """Set criterion of Mask2Former; the matcher's costs are the same weights."""

    class_weight: Weight
    """Weight of the classification loss."""
    mask_weight: Weight
    """Weight of the binary cross-entropy of masks."""
    dice_weight: Weight
    """Weight of the dice loss."""
    no_object_weight: Weight
    """Weight of the no-object class within the classification loss."""
    points: Points
    """Points at which a mask is compared."""
    oversample_ratio: Annotated[float, Field(ge=1, le=1000)]
    """Candidate points for each point used."""
    importance_ratio: Fraction
    """Share of the points that are taken where the prediction is uncertain."""


class Augmentation(Block):
    """Training input."""

    short_side: Annotated[list[Pixels], Field(min_length=2, max_length=2)]
    """Smallest and largest short side of the scale jitter, pixels."""
    scale_step: Fraction
    """Step of the scale jitter, as a share of `crop_size`."""
    longest_side: Pixels
    """No side is made longer than this, pixels."""
    crop_size: Pixels
    """Side of the random crop, pixels."""
    max_category_share: Fraction
    """A crop in which one class covers more than this is drawn again; 1: never."""
    color_jitter: bool
    """SSD's photometric distortion."""
    horizontal_flip: Fraction
    """Probability of a mirror image."""

    @model_validator(mode="after")
    def _consistent(self) -> "Augmentation":
        smallest, largest = self.short_side
        if not smallest <= largest <= self.longest_side:
            raise ValueError(
                f"'short_side: [{smallest}, {largest}]' must be in order, from the smallest to the "
                f"largest, and not above 'longest_side: {self.longest_side}'"
            )
        return self


class SegmenterTraining(Optimisation):
    """Optimisation of the segmenter."""

    steps: PositiveInt
    """Optimiser steps."""
    weight_decay: Weight
    """AdamW's weight decay; norms, embeddings and relative position biases have none."""
    warmup_factor: Fraction
    """First learning rate, as a share of the peak."""
    power: PositiveFloat
    """Exponent of the polynomial decay."""
    gradient_clip: PositiveFloat
    """Largest norm of the whole model's gradient."""
    precision: Precision
    """Arithmetic, in Lightning Fabric's words."""
    checkpoint_every: PositiveInt
    """Steps between checkpoints."""
    validate_every: PositiveInt
    """Steps between validations on the training benchmark's `val` split."""


SegmenterSource = Annotated[str, source("train", files=WEIGHTS["segmenter"])]
InitialWeights = Annotated[str, source("none", files=INITIAL_WEIGHTS)]


class Segmenter(Block):
    """The proposal network and its training."""

    source: SegmenterSource = "train"
    """`train`, or a file that holds the segmenter: `scan:<path>` of the release, `segmenter:<path>`
    or `model:<path>` of this project (docs/weights.md)."""
    initial_weights: InitialWeights = "none"
    """Weights that the training starts from: `mask2former:<path>` (backbone and pixel decoder),
    `scan:<path>`, `segmenter:<path>` or `model:<path>`."""
    logit_scale: LogitScale
    """Factor of the cosine similarities in the classification loss; `learned`: CLIP's own. The
    released model uses 100."""
    input: InputSize
    """Images outside of training: for validations, and for the masks that CLIP is fine-tuned on."""

    backbone: Backbone
    pixel_decoder: PixelDecoder
    mask_decoder: MaskDecoder
    semantic_integration: SemanticIntegration
    loss: Loss
    augmentation: Augmentation
    training: SegmenterTraining
