"""`ablations` and `searches`: what is varied; and the whole file."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from scan_core.params.metric_names import METRICS
from scan_core.params.schema.fields import Block, Name, Scalar, Seed, ValueOrTable, source
from scan_core.params.schema.recipe import Recipe


class Ablation(Block):
    """A grid: every combination of the values of `vary`."""

    recipe: str | None = None
    """The recipe to start from; `null`: the one that runs."""
    vary: dict[str, Annotated[list[Scalar | list[Scalar]], Field(min_length=1)]]
    """Key path within the recipe -> values. Keys under `inference` cost no training."""
    fixed: dict[str, Scalar | list[Scalar] | None] = Field(default_factory=dict)
    """Key path -> value that all cells have in place of the recipe's, such as fewer steps."""
    benchmarks: list[str] | None = None
    """Benchmarks to evaluate; `null`: those of the recipe."""
    seeds: list[Seed] = Field(default_factory=lambda: [0, 1, 2], min_length=1)
    """Seeds to repeat every cell with."""


class Steps(Block):
    """Numbers from `low` to `high`, `step` apart."""

    low: float
    high: float
    step: PositiveFloat

    @model_validator(mode="after")
    def _consistent(self) -> "Steps":
        if self.low >= self.high:
            raise ValueError("'low' must be less than 'high'")
        return self


_SEARCHED = ("mask_threshold", "crop_threshold", "clip_weight", "replace_ratio", "ensemble")
SearchedKey = Annotated[str, source(*(f"inference.{key}" for key in _SEARCHED))]
SearchedValues = ValueOrTable[Annotated[list[float | str], Field(min_length=1)], Steps]


class Search(Block):
    """A search of test-time settings on the benchmarks' `train` splits, by Optuna."""

    recipe: str | None = None
    """The recipe whose model is tested; `null`: the one that runs."""
    vary: Annotated[dict[SearchedKey, SearchedValues], Field(min_length=1)]
    """Key -> a list of values, or `{low, high, step}`: `inference.` `mask_threshold`,
    `crop_threshold`, `clip_weight`, `replace_ratio`, `ensemble`. What CLIP's crops depend on needs
    a list: every value costs a pass of CLIP over the images, a trial next to nothing."""
    benchmarks: list[str] | None = None
    """Benchmarks to test on; `null`: those of `inference.benchmarks` that have a `train` split."""
    images: PositiveInt | None = None
    """Images of each benchmark, the first ones; `null`: all."""
    metric: Annotated[str, source(*METRICS), Field(json_schema_extra={"enum": [*METRICS]})] = "miou"
    """Metric to maximise, averaged over the benchmarks."""
    sampler: Literal["tpe", "random"] = "tpe"
    """`tpe` learns from the trials so far, `random` does not."""
    trials: PositiveInt = 100
    """How many. A larger number continues the search."""
    seed: Seed = 0
    """Of the sampler."""


class Params(Block):
    """The whole file: recipe to run, grids, searches, and one block for each recipe."""

    recipe: str
    """The recipe to run; `snakemake --config recipe=...` overrides it."""
    ablations: dict[Name, Ablation] = Field(default_factory=dict)
    """The grids that a recipe's `grids`, or `snakemake ablations`, can ask for."""
    searches: dict[Name, Search] = Field(default_factory=dict)
    """The searches that `snakemake searches` makes."""
    recipes: Annotated[dict[Name, Recipe], Field(min_length=1)]
