"""`inference`: test-time settings."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from scan_core.params.schema.fields import (
    NULL_REMOVES,
    Fraction,
    InferencePrecision,
    InputSize,
    Layers,
    LogitScale,
    Name,
    ValueOrTable,
    ValueOrWord,
)

Ensemble = Literal["geometric", "log"]
PerBenchmarkFraction = ValueOrTable[Fraction, Annotated[dict[str, Fraction], NULL_REMOVES]]
PerBenchmarkEnsemble = ValueOrTable[Ensemble, Annotated[dict[str, Ensemble], NULL_REMOVES]]


class Inference(InputSize):
    """Test-time settings; no training depends on them.

    A single value holds for every benchmark; a table names some, and has a `default` for the others
    and for images of no benchmark.
    """

    benchmarks: Annotated[list[Name], Field(min_length=1)]
    """The benchmarks to evaluate, in the order of the tables."""
    crop_expansion: Annotated[float, Field(ge=1, le=1000)]
    """Width and height of a crop, as a multiple of its mask's bounding box; 1: tight, as
    released. Around a mask there is nothing to see but contextual shift's tokens."""
    replace_layers: list[Layers]
    """Contextual shift: after which blocks of CLIP (1-based)."""
    logit_scale: LogitScale
    """Factor of the cosine similarities; `learned`: CLIP's own. The released model uses 100."""
    mask_threshold: PerBenchmarkFraction
    """A proposal without a pixel above this probability is not shown to CLIP."""
    crop_threshold: ValueOrWord[Fraction, Literal["mask_threshold"]]
    """Pixels of a proposal above this probability form its crop. `mask_threshold`: that one, as
    released; a number of its own, at most `mask_threshold`, lets grids over that share crops."""
    clip_weight: PerBenchmarkFraction
    """Exponent of CLIP's score in the geometric ensemble (in-vocabulary: 1 − it)."""
    replace_ratio: PerBenchmarkFraction
    """Contextual shift: share of background tokens replaced."""
    ensemble: PerBenchmarkEnsemble
    """`log` weighs by the probability of being an object at all, `geometric` does not."""
    prompts: Literal["trained", "vild", "imagenet", "single"]
    """Template set for class names at test time; `trained`: that of `clip.prompts`."""
    scales: Annotated[list[PositiveFloat], Field(min_length=1, default_factory=lambda: [1.0])]
    """Test-time augmentation: scales of the resized image, whose class scores are averaged."""
    flip: bool = False
    """Test-time augmentation: the mirror image as well."""
    precision: InferencePrecision
    """Arithmetic. `float32`: without TF32, as exact as it gets; `tf32`: with it, on GPUs that have
    it; `bfloat16`, `float16`: CLIP on crops in that, which is nine tenths of the work, and the rest
    as with `tf32`."""
