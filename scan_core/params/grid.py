"""What the cells of a grid are: the models that they need, and how each is tested.

A variant is named by its seed and by those varied keys that its stage depends on
(`seed=0,semantic_integration.enabled=false`), so cells that agree in what a stage depends on
share what it makes. How a cell is tested is known by its settings, not by its place in a grid.

CLIP is fine-tuned on masks of the recipe's own segmenter, whatever a grid varies of the segmenter:
as in the paper, where one fine-tuned CLIP serves all segmenters, a grid over `segmenter` compares
segmenters and nothing else.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ValidationError

from scan_core.errors import InputError
from scan_core.params.reading import override
from scan_core.params.recipe_part import RecipePart, as_text
from scan_core.params.resolution import resolve_settings
from scan_core.params.schema.grids import Ablation
from scan_core.params.schema.recipe import Recipe
from scan_core.params.settings import TestSettings
from scan_core.params.stages import (
    clip_part,
    finetune_part,
    model_part,
    pairs_part,
    segmenter_part,
)

# Stage -> its part of a recipe. `miner` is the segmenter that proposes masks to fine-tune CLIP on.
_OF_SEGMENTER = {"clip": clip_part, "segmenter": segmenter_part, "model": model_part}
_OF_MINER = {"miner": segmenter_part, "pairs": pairs_part, "finetuned": finetune_part}
# Blocks of a recipe that no stage of a grid depends on: all cells share the data.
_SHARED = ("datasets", "grids", "inference.benchmarks")
# Folders' names have at most 255 bytes, and files in them add to theirs.
_LONGEST_NAME = 120
_OTHER_WORDS = ("true", "false", "null")


@dataclass(frozen=True)
class Cell:
    """One combination of a grid's values, with one seed.

    Attributes:
        base: the recipe to start from, with the cell's seed.
        values: key path -> varied value.
        fixed: key path -> value that all cells of the grid have.
        seed: of the training.
        names: stage -> the variant that the cell uses: `clip`, `segmenter`, `miner` (the segmenter
            that proposes masks to fine-tune CLIP on), `pairs`, `finetuned`, `model`.
    """

    base: Recipe
    values: Mapping[str, Any]
    fixed: Mapping[str, Any]
    seed: int
    names: Mapping[str, str]

    @cached_property
    def recipe(self) -> Recipe:
        """With all values put in."""
        return changed(self.base, {**self.fixed, **self.values})

    @cached_property
    def mining_recipe(self) -> Recipe:
        """The same, but for what the grid varies of the segmenter."""
        return changed(self.base, _for_mining(self.fixed, self.values))

    @cached_property
    def model_recipe(self) -> Recipe:
        """What the model is made from, with the test-time settings of the recipe."""
        return self.recipe.model_copy(update={"inference": self.base.inference})

    @cached_property
    def unvaried_recipe(self) -> Recipe:
        """What the grid starts from: the recipe with what all cells of the grid have."""
        return changed(self.base, self.fixed)

    @cached_property
    def trained_as_unvaried(self) -> bool:
        """Whether no training sees anything of what the grid varies."""
        return all(
            as_text(part(self.recipe)) == as_text(part(self.unvaried_recipe)) for part in _PARTS
        )

    def part(self, stage: str) -> RecipePart:
        """Of the recipe, what a stage depends on; see `names`."""
        if stage in _OF_SEGMENTER:
            return _OF_SEGMENTER[stage](self.recipe)
        return _OF_MINER[stage](self.mining_recipe)


@dataclass(frozen=True)
class Row:
    """A cell on a benchmark.

    Attributes:
        cell: of the grid.
        benchmark: its name.
        settings: as they will be used.
    """

    cell: Cell
    benchmark: str
    settings: TestSettings

    @property
    def model(self) -> str:
        """The variant that is tested."""
        return self.cell.names["model"]

    @property
    def own(self) -> bool:
        """Whether the varied values are those of the recipe itself."""
        own = resolve_settings(self.cell.unvaried_recipe, self.benchmark)
        return self.cell.trained_as_unvaried and self.settings == own

    def as_dict(self) -> dict[str, Any]:
        """For the table of the grid: where the numbers are, and what they belong to."""
        return {
            "baseline": self.own,
            "seed": self.cell.seed,
            "benchmark": self.benchmark,
            "values": dict(self.cell.values),
            "model": self.model,
            "key": self.settings.key,
        }


def cell_of(
    recipe: Recipe,
    values: Mapping[str, Any],
    seed: int,
    fixed: Mapping[str, Any] | None = None,
) -> Cell:
    """A cell.

    Args:
        recipe: to start from.
        values: key path -> varied value.
        seed: of the training.
        fixed: key path -> value that all cells of a grid have.
    """
    return _cell(_Effects(recipe), values, seed, fixed or {})


def cells_of(recipe: Recipe, grid: Ablation) -> list[Cell]:
    """All cells of a grid, every combination with every seed, the recipe's own included.

    Raises:
        InputError: a key that no cell can differ in.
    """
    for key in (*grid.vary, *grid.fixed):
        if any(key == shared or key.startswith(f"{shared}.") for shared in _SHARED):
            raise InputError(
                f"'{key}' reaches neither a training nor a "
                "test-time setting, so all cells would be one; data that differ need a recipe"
            )
    keys = list(grid.vary)
    effects = _Effects(recipe)
    return [
        _cell(effects, dict(zip(keys, combination, strict=True)), seed, grid.fixed)
        for combination in itertools.product(*grid.vary.values())
        for seed in sorted({*grid.seeds, recipe.seed})
    ]


def benchmarks_of(recipe: Recipe, grid: Ablation) -> list[str]:
    """The benchmarks that a grid is evaluated on, in the recipe's order."""
    chosen = grid.benchmarks or recipe.inference.benchmarks
    return [name for name in recipe.inference.benchmarks if name in chosen]


def rows_of(recipe: Recipe, grid: Ablation, every_seed: bool = True) -> Iterator[Row]:
    """The rows of a grid's table.

    Args:
        recipe: to start from.
        grid: of `params.yaml`.
        every_seed: or the recipe's own alone.

    Raises:
        InputError: see `cells_of` and `test_settings`.
    """
    benchmarks = benchmarks_of(recipe, grid)
    for cell in cells_of(recipe, grid):
        if every_seed or cell.seed == recipe.seed:
            for benchmark in benchmarks:
                yield Row(cell, benchmark, resolve_settings(cell.recipe, benchmark))


def check_grid(name: str, recipe: Recipe, grid: Ablation) -> None:
    """Refuse a grid of which two cells are the same experiment.

    Args:
        name: of the grid.
        recipe: to start from.
        grid: of `params.yaml`.

    Raises:
        InputError: it names the two, or a cell that cannot be.
    """
    seen: dict[tuple[str, str, str], Row] = {}
    try:
        rows = list(rows_of(recipe, grid, every_seed=False))
    except InputError as error:
        raise InputError(f"params.yaml: ablations.{name}: {error}") from None
    for row in rows:
        other = seen.setdefault((row.benchmark, row.model, row.settings.key), row)
        if other is not row:
            first, second = (json.dumps(dict(r.cell.values)) for r in (other, row))
            raise InputError(
                f"params.yaml: ablations.{name}: the cells {first} and {second} are the same "
                f"experiment on {row.benchmark}: nothing that they differ in reaches a training or "
                "a test-time setting. Take one of them out, or vary something else"
            )


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """A recipe with some keys replaced; blocks without such a key stay the same objects.

    Args:
        recipe: to start from.
        values: key path -> value.

    Raises:
        InputError: an unknown key, or values that contradict each other.
    """
    blocks: dict[str, Any] = {}
    for path, value in values.items():
        top, _, rest = path.partition(".")
        if not rest:
            blocks[top] = value
            continue
        if top not in blocks:
            block = getattr(recipe, top, None)
            blocks[top] = block.model_dump() if isinstance(block, BaseModel) else {}
        blocks[top] = override(blocks[top], rest, value)
    try:
        for top, contents in blocks.items():
            kind = type(getattr(recipe, top, None))
            if issubclass(kind, BaseModel):
                blocks[top] = kind.model_validate(contents)
        found = recipe.model_copy(update=blocks)
        found.check()
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise InputError(f"{dict(values)}: {where}: {problem['msg']}") from None
    except ValueError as error:
        raise InputError(f"{dict(values)}: {error}") from None
    return found


class _Effects:
    """Which stages depend on a key, each value asked once."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._unchanged = {part: as_text(part(recipe)) for part in _PARTS}
        self._known: dict[tuple[str, str], frozenset[Callable[[Recipe], RecipePart]]] = {}

    def of(self, key: str, value: Any) -> frozenset[Callable[[Recipe], RecipePart]]:
        """The parts of the recipe that change with a key's value."""
        name = key, json.dumps(value)
        if name not in self._known:
            recipe = changed(self.recipe, {key: value})
            self._known[name] = frozenset(
                part for part in _PARTS if as_text(part(recipe)) != self._unchanged[part]
            )
        return self._known[name]


_PARTS = tuple(dict.fromkeys((*_OF_SEGMENTER.values(), *_OF_MINER.values())))


def _cell(
    effects: _Effects, values: Mapping[str, Any], seed: int, fixed: Mapping[str, Any]
) -> Cell:
    every, mining = {**fixed, **values}, _for_mining(fixed, values)
    names = {stage: _name(effects, part, every, seed) for stage, part in _OF_SEGMENTER.items()}
    names |= {stage: _name(effects, part, mining, seed) for stage, part in _OF_MINER.items()}
    base = effects.recipe
    if seed != base.seed:
        base = base.model_copy(update={"seed": seed})
    return Cell(base, values, fixed, seed, names)


def _for_mining(fixed: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    varied = {key: value for key, value in values.items() if not key.startswith("segmenter.")}
    return {**fixed, **varied}


def _name(
    effects: _Effects,
    part: Callable[[Recipe], RecipePart],
    values: Mapping[str, Any],
    seed: int,
) -> str:
    """A folder's name: what differs, readable, and where that is too long, its hash.

    It does not depend on the order in which keys are listed: what is equal has one name.
    """
    words, exact = [f"seed={seed}"], [str(seed)]
    for key, value in sorted(values.items()):
        if part in effects.of(key, value):
            words.append(f"{key.split('.', 1)[-1]}={_word(value)}")
            exact.append(f"{key}={json.dumps(value)}")
    name = ",".join(words)
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 13]}~{_digest(exact)}"


def _word(value: Any) -> str:
    """A value as a part of a file's name: letters, digits, `.`, `-` and `_`."""
    text = json.dumps(value).replace(", ", "-")
    word = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("_")
    # Two values must not have one word: `a b` and `a_b`, or the word `1` and the number.
    if isinstance(value, str) and (word != value or word in _OTHER_WORDS or not word[0].isalpha()):
        return f"{word}-{_digest([text])[:4]}"
    return word


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
