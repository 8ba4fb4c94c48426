"""`clip`: the frozen vision–language model; `clip_finetune`: its copy for masked crops."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from scan_core.params.clips import clip_config, clip_models, pretrained_tags
from scan_core.params.schema.fields import (
    WEIGHTS,
    Block,
    Count,
    Fraction,
    InferencePrecision,
    Layers,
    Optimisation,
    Pixels,
    Precision,
    PromptSet,
    Queries,
    ValueOrTable,
    Width,
    source,
    weights_file,
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


class ClipPretraining(Optimisation):
    """Training of that CLIP on captioned images of the miniature world."""

    images: PositiveInt
    """Captioned images."""
    cutouts: PositiveInt
    """Segments of scenes under imperfect masks, with their names."""
    steps: PositiveInt
    """Optimiser steps."""
    cutout_steps: Count
    """The last steps, three quarters of whose pictures are such segments."""


ClipSource = Annotated[
    str, source("train", prefixes=("packaged:", "open_clip:"), files=WEIGHTS["clip"])
]


class Clip(Block):
    """The frozen vision–language model."""

    source: ClipSource
    """`train` a small one, `packaged:<name>` (`mini_clip` or `mini_clip_pictures`),
    `open_clip:<pretrained tag>`, or a file: `scan:<path>` of the release, `clip:<path>`,
    `finetuned_clip:<path>`, or `model:<path>` of this project (docs/weights.md)."""
    architecture: ValueOrTable[str, ClipArchitecture]
    """open_clip's model name (docs/clips.md), or the dimensions of a small one."""
    pretrained: str | None = None
    """With a file and a model name: open_clip's tag of the weights in the file, or of those that
    they were fine-tuned from, such as `openai`: its table says which activation and which mean and
    deviation of pixels they want. `none`: those of the architecture and of CLIP's first weights."""
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
        of_any_size = weights_file(self.source) is not None
        if not of_any_size and small != isinstance(self.architecture, ClipArchitecture):
            raise ValueError(
                "'architecture' must list dimensions with 'source: train' or 'packaged:...', and "
                "be a model name of open_clip with 'open_clip:...'"
            )
        if isinstance(self.architecture, str) and clip_models():
            clip_config(self.architecture)
            tags = pretrained_tags().get(self.architecture)
            if self.tag and tags is not None and self.tag not in tags:
                raise ValueError(
                    f"open_clip has no weights '{self.tag}' for {self.architecture}; there are "
                    f"{', '.join(tags)}"
                )
        if of_any_size and isinstance(self.architecture, str) and self.pretrained is None:
            raise ValueError(
                "'pretrained' must name open_clip's tag of the weights in the file, or of those "
                "that they were fine-tuned from, such as 'openai', or be 'none': it says which "
                "activation they want"
            )
        return self

    @property
    def vision_blocks(self) -> int | None:
        """Blocks of the image tower; None where only open_clip, which is not here, knows."""
        if isinstance(self.architecture, ClipArchitecture):
            return self.architecture.vision_layers
        return clip_config(self.architecture)["vision_cfg"]["layers"] if clip_models() else None

    @property
    def tag(self) -> str | None:
        """open_clip's tag, whose table says what the weights want; None: there is none."""
        if self.source.startswith("open_clip:"):
            return self.source.removeprefix("open_clip:")
        of_a_file = weights_file(self.source) is not None and self.pretrained != "none"
        return self.pretrained if of_a_file else None


FinetunedSource = Annotated[str, source("train", files=WEIGHTS["finetuned_clip"])]


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


class ClipFinetune(Optimisation):
    """Fine-tuning of CLIP's image tower on masked crops; the text tower stays frozen."""

    source: FinetunedSource = "train"
    """`train`, or a file that holds the fine-tuned CLIP: `scan:<path>` or `finetuned_clip:<path>`
    of the release, `clip:<path>` or `model:<path>` of this project (docs/weights.md)."""
    contextual_shift: bool
    """`false` fine-tunes, and then also tests, without the contextual shift (ablation)."""
    pairs: MaskTextPairs
    loss: Literal["diagonal", "multi_positive"]
    """Contrastive loss. `diagonal`: each crop fits its own noun alone, as released;
    `multi_positive`: crops of a batch that share a noun share it in the loss too."""
    epochs: PositiveInt
    """Passes over the pairs."""
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
