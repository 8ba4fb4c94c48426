"""What the blocks of the schema share: kinds of values, and the block itself.

One class is one block of `params.yaml`; the string below a field is its documentation, from which
`docs/parameters.md` is generated. `scan_core.params.reading` reads the file and reports what is
wrong with it.
"""

import re
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    Tag,
    model_validator,
)


def name_in_paths(value: str) -> str:
    """Check a name that becomes a folder, a part of a command and a word of a table."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}", value, re.ASCII):
        raise ValueError(
            f"{value!r} is no name: 1 to 64 of the letters A to Z, a to z, digits, '_' and '-', "
            "the first of them no '-'"
        )
    return value


def _without_braces(value: str) -> str:
    if set("{}") & set(value):
        raise ValueError(
            f"{value!r}: Snakemake takes braces for wildcards; rename the file or folder"
        )
    return value


Name = Annotated[str, AfterValidator(name_in_paths)]
FilePath = Annotated[str, Field(min_length=1), AfterValidator(_without_braces)]
Text = Annotated[str, Field(min_length=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
# NumPy's generators take no larger seed.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
# Sizes far above any that a network has had: what is beyond is a slip of the keyboard, and would
# end hours later for want of memory.
Layers = Annotated[int, Field(ge=1, le=1000)]
Width = Annotated[int, Field(ge=1, le=32_768)]
Pixels = Annotated[int, Field(ge=1, le=32_768)]
Queries = Annotated[int, Field(ge=1, le=10_000)]
Points = Annotated[int, Field(ge=1, le=10_000_000)]
BatchSize = Annotated[int, Field(ge=1, le=10_000_000)]
Split = Literal["train", "val"]
Precision = Literal["32-true", "bf16-mixed"]
InferencePrecision = Literal["float32", "tf32", "bfloat16", "float16"]
PromptSet = Literal["vild", "imagenet", "single"]


# Stage -> the kinds of files that hold its weights; see docs/weights.md.
WEIGHTS = {
    "clip": ("scan", "finetuned_clip", "clip", "model"),
    "segmenter": ("scan", "segmenter", "model"),
    "finetuned_clip": ("scan", "finetuned_clip", "clip", "model"),
}
# What a training of the segmenter can start from.
INITIAL_WEIGHTS = ("mask2former", "scan", "segmenter", "model")

# Kind -> what a file of this kind holds.
WEIGHTS_HOLD = {
    "scan": "a whole SCAN by the release's names, such as SCAN.pth",
    "finetuned_clip": "a CLIP fine-tuned with open_clip, such as CS_CLIP.pt",
    "mask2former": "a Mask2Former with the same Swin",
    "clip": "a CLIP by open_clip's names, such as this project's clip.safetensors",
    "segmenter": "a segmenter.safetensors of this project",
    "model": "a model.safetensors of this project",
}


def source(
    *words: str, prefixes: tuple[str, ...] = (), files: tuple[str, ...] = ()
) -> AfterValidator:
    """Check that a text is one of `words`, begins with one of `prefixes`, or names a file.

    Args:
        files: kinds of files of weights, such as `scan` for `scan:<path>`.
    """
    prefixes = (*prefixes, *(f"{kind}:" for kind in files))

    def check(value: str) -> str:
        if value in words or any(value.startswith(p) and len(value) > len(p) for p in prefixes):
            return _without_braces(value)
        allowed = [*words, *(f"{p}<...>" for p in prefixes)]
        raise ValueError(f"'{value}' is not allowed; expected {' | '.join(allowed)}")

    return AfterValidator(check)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if item is not None}
    return value


# A recipe that extends another has the entries of its tables too; `null` takes one out.
NULL_REMOVES = BeforeValidator(_without_nulls)

# Choosing by the kind of value gives one error message for a union instead of one a member;
# the tags' brackets mark them as no part of the key's path.
TABLE_OR_VALUE = Discriminator(
    lambda value: "[table]" if isinstance(value, dict | BaseModel) else "[value]"
)
WORD_OR_VALUE = Discriminator(lambda value: "[word]" if isinstance(value, str) else "[value]")

V = TypeVar("V")
W = TypeVar("W")
ValueOrWord = Annotated[Annotated[V, Tag("[value]")] | Annotated[W, Tag("[word]")], WORD_OR_VALUE]
ValueOrTable = Annotated[
    Annotated[V, Tag("[value]")] | Annotated[W, Tag("[table]")], TABLE_OR_VALUE
]
LogitScale = ValueOrWord[PositiveFloat, Literal["learned"]]


class Block(BaseModel):
    """A block of the file: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class Attention(Block):
    """Tokens of a width that heads share."""

    width: Width
    """Channels of the feature maps, or of the queries."""
    heads: Width
    """Attention heads."""

    @model_validator(mode="after")
    def _heads_share_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"'width: {self.width}' is no multiple of 'heads: {self.heads}'")
        return self


class Optimisation(Block):
    """What every training has: AdamW with a linear warm-up."""

    batch_size: BatchSize
    """Images a step, or pairs of mask and noun, over all devices."""
    learning_rate: PositiveFloat
    """Peak of the schedule: a cosine for CLIP, a polynomial for the segmenter."""
    weight_decay: Weight
    """AdamW's weight decay."""
    warmup_steps: Count
    """Linear warm-up, steps."""


class InputSize(Block):
    """The size to which images are resized."""

    short_side: Pixels
    """Images are resized to this short side, pixels."""
    longest_side: Pixels
    """But no side longer than this, pixels."""

    @model_validator(mode="after")
    def _sides_are_in_order(self) -> Self:
        if self.short_side > self.longest_side:
            raise ValueError("'short_side' must not be greater than 'longest_side'")
        return self


Scalar = bool | int | float | str


def weights_file(source: str) -> tuple[str, str] | None:
    """Kind and path of the file that a source of weights names; None: no file of weights."""
    kind, colon, path = source.partition(":")
    is_file = colon and kind in {*INITIAL_WEIGHTS, *WEIGHTS["clip"]}
    return (kind, path) if is_file else None
