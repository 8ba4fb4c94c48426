"""The whole of `params.yaml`."""

from typing import Annotated

from pydantic import Field

from scan_core.params.schema.fields import Block, Name
from scan_core.params.schema.grids import Ablation, Search
from scan_core.params.schema.recipe import Recipe


class Params(Block):
    """The whole file: recipe to run, grids, searches, and one block for each recipe."""

    recipe: str
    """The recipe to run; `snakemake --config recipe=...` overrides it."""
    ablations: dict[Name, Ablation] = Field(default_factory=dict)
    """The grids that a recipe's `grids`, or `snakemake ablations`, can ask for."""
    searches: dict[Name, Search] = Field(default_factory=dict)
    """The searches that `snakemake searches` makes."""
    recipes: Annotated[dict[Name, Recipe], Field(min_length=1)]
