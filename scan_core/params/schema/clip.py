"""`clip`: the frozen vision–language model."""

from typing import Annotated, Literal

from pydantic import PositiveFloat, PositiveInt, Tag, model_validator

from scan_core.params.schema.fields import (
    TABLE_OR_VALUE,
    BatchSize,
    Block,
    Count,
    Layers,
    Pixels,
    PromptSet,
    Weight,
    Width,
    source,
)


class ClipArchitecture(Block):
    """A CLIP small enough to train within the workflow (classes of open_clip)."""

    embed_dim: Width
    """Width of the joint embedding."""
    image_size: Pixels
    """Side of the input image, pixels."""
    patch_size: Pixels
    """Side of a patch, pixels."""
    vision_width: Width
    """Width of the image tower."""
    vision_layers: Layers
    """Blocks of the image tower."""
    text_width: Width
    """Width of the text tower."""
    text_layers: Layers
    """Blocks of the text tower."""
    head_width: Width
    """Width of an attention head, both towers."""
    context_length: Width
    """Tokens of a caption."""
    stem: Literal["patches", "convolutional"]
    """How pixels become tokens: CLIP's linear patch embedding, or convolutions, which learn
    shapes from far fewer pictures; `patch_size` is then a power of two."""


class ClipPretraining(Block):
    """Training of that CLIP on captioned images of the miniature world."""

    images: PositiveInt
    """Captioned images."""
    cutouts: PositiveInt
    """Segments of scenes under imperfect masks, with their names."""
    steps: PositiveInt
    """Optimiser steps."""
    cutout_steps: Count
    """The last steps, three quarters of whose pictures are such segments."""
    batch_size: BatchSize
    """Images a step."""
    learning_rate: PositiveFloat
    """Peak of the cosine schedule."""
    weight_decay: Weight
    """AdamW's weight decay."""
    warmup_steps: Count
    """Linear warm-up, steps."""


class Clip(Block):
    """The frozen vision–language model."""

    source: Annotated[str, source("train", prefixes=("packaged:", "open_clip:", "file:"))]
    """`train` a small one, `packaged:<name>` (`mini_clip` comes with the package),
    `open_clip:<pretrained tag>`, or `file:<path>`."""
    architecture: Annotated[
        Annotated[str, Tag("[value]")] | Annotated[ClipArchitecture, Tag("[table]")],
        TABLE_OR_VALUE,
    ]
    """open_clip's model name, or the dimensions of a small one."""
    pretraining: ClipPretraining | None = None
    """How to train it, or how the packaged one was trained; `null` with other sources."""
    prompts: PromptSet
    """Template set for class names; the released model uses `vild` (14 templates)."""

    @model_validator(mode="after")
    def _consistent(self) -> "Clip":
        small = self.source == "train" or self.source.startswith("packaged:")
        if self.source == "train" and self.pretraining is None:
            raise ValueError("'pretraining' must be given with 'source: train'")
        if not small and self.pretraining is not None:
            raise ValueError(
                "'pretraining' must be null, unless 'source' is 'train' or 'packaged:...'"
            )
        of_any_size = self.source.startswith("file:")
        if not of_any_size and small != isinstance(self.architecture, ClipArchitecture):
            raise ValueError(
                "'architecture' must list dimensions with 'source: train' or 'packaged:...', and "
                "be a model name of open_clip with 'open_clip:...'"
            )
        return self
