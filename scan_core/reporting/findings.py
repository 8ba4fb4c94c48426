"""What a recipe has found, as the workflow leaves it: tables, figures and the report show it."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from scan_core.errors import InputError
from scan_core.params.frozen_recipe import load_frozen
from scan_core.params.provenance import code_note, imported_note
from scan_core.reporting.diagnosis import cut_table, load_cuts, load_diagnosis
from scan_core.reporting.grids import Grid, load_grid
from scan_core.reporting.published import published_table
from scan_core.reporting.results import load_evaluations
from scan_core.reporting.tables import Table, claim_table, detail_table, main_table


@dataclass(frozen=True)
class Findings:
    """The files of a recipe's results, and what they hold.

    Attributes:
        recipe_file: the recipe, as the workflow freezes it.
        evaluation: metrics.json of each benchmark, all of one model; per_class.csv and counts.npz
            lie beside it.
        given: metrics.json of predictions of other models, of each method and benchmark;
            per_class.csv lies beside it.
        ablation: CSV of each grid.
        diagnosis: diagnosis.json of each benchmark.
    """

    recipe_file: Path
    evaluation: list[Path]
    given: list[Path] = field(default_factory=list)
    ablation: list[Path] = field(default_factory=list)
    diagnosis: list[Path] = field(default_factory=list)

    @cached_property
    def document(self) -> Any:
        """The recipe and its grids, in the form of `params.yaml`."""
        return load_frozen(self.recipe_file)[0]

    @property
    def recipe(self) -> Any:
        return self.document["recipes"][self.document["recipe"]]

    @cached_property
    def results(self) -> pd.DataFrame:
        """See `load_evaluations`."""
        results = load_evaluations(self.evaluation, self.given)
        if (found := results["recipe"].iloc[0]) != self.document["recipe"]:
            raise InputError(f"the evaluations are of {found}, expected {self.document['recipe']}")
        return results

    @property
    def note(self) -> str:
        """What a reader must know of how the evaluations were made."""
        return f"{imported_note(self.evaluation)} {code_note(self.evaluation)}".strip()

    @property
    def grids(self) -> list[Grid]:
        return [load_grid(path) for path in self.ablation]

    @property
    def diagnoses(self) -> list[dict[str, Any]]:
        return [load_diagnosis(path) for path in self.diagnosis]

    def tables(self) -> dict[str, Table]:
        """By name, without those of the grids."""
        architecture = self.recipe["clip"]["architecture"]
        own = isinstance(architecture, dict)
        return {
            "main": main_table(self.results),
            "details": detail_table(self.results),
            "claims": claim_table(self.results),
            "cuts": cut_table(load_cuts([*self.evaluation, *self.given])),
            "published": published_table(self.results, "small" if own else architecture),
        }
