"""What the cells of a grid are: the models that they need, and how each is tested.

A variant is named by its seed and a hash of what makes it: the stage's part of the recipe, the
files that the part names, the data, and the variants that the stage reads. So cells of grids, and
recipes, that agree in all this share what a stage makes. How a cell is tested is known by its
settings.

CLIP is fine-tuned on masks of the recipe's own segmenter, whatever a grid varies of the segmenter:
as in the paper, where one fine-tuned CLIP serves all segmenters, a grid over `segmenter` compares
segmenters and nothing else.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scan_core.errors import InputError
from scan_core.params import recipe_part as parts
from scan_core.params.data_names import benchmark_folder, caption_file, short_hash
from scan_core.params.own_files import known
from scan_core.params.reading import changed
from scan_core.params.schema.grids import Ablation
from scan_core.params.schema.recipe import Recipe
from scan_core.params.settings import resolve_settings

# Where stages leave what they make, whatever recipe asks for it: `<stage>/<variant>/`.
STAGES = Path("results/stages")
# Stage -> its part of a recipe. `miner` is the segmenter that proposes masks to fine-tune CLIP on.
_PARTS = {
    "clip": parts.clip_part,
    "segmenter": parts.segmenter_part,
    "miner": parts.segmenter_part,
    "pairs": parts.pairs_part,
    "finetuned_clip": parts.finetuned_clip_part,
    "model": parts.model_part,
}
# Blocks of a recipe that no stage of a grid depends on: all cells share the data.
_SHARED = ("datasets", "diagnosis", "grids", "inference.benchmarks")
_PACKAGED = Path(__file__).parents[1] / "models/packaged"


@dataclass(frozen=True)
class Cell:
    """One combination of a grid's values, with one seed.

    Attributes:
        base: the recipe to start from, with the cell's seed.
        values: key path -> varied value.
        fixed: key path -> value that all cells of the grid have.
        seed: of the training.
        names: stage -> the variant that the cell uses: `clip`, `segmenter`, `miner` (the segmenter
            that proposes masks to fine-tune CLIP on), `pairs`, `finetuned_clip`, `model`; without
            the miner and the pairs where a fine-tuned CLIP comes from a file.
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
        return changed(self.base, {**self.fixed, **_of_mining(self.values)})

    @cached_property
    def model_recipe(self) -> Recipe:
        """What the model is made from, with the test-time settings of the recipe."""
        return self.recipe.model_copy(update={"inference": self.base.inference})

    def imported(self, stage: str) -> tuple[str, str] | None:
        """Kind and path of the file that a stage's weights come from; None: they are made."""
        return self._recipe_of(stage).imported.get("segmenter" if stage == "miner" else stage)

    def part(self, stage: str) -> parts.RecipePart:
        """Of the recipe, what a stage depends on; see `names`."""
        return _PARTS[stage](self._recipe_of(stage))

    def _recipe_of(self, stage: str) -> Recipe:
        mines = stage in ("miner", "pairs", "finetuned_clip")
        return self.mining_recipe if mines else self.recipe


def cell_of(recipe: Recipe) -> Cell:
    """The cell of a recipe itself."""
    return _cells(recipe, [{}], {}, [recipe.seed])[0]


def cells_of(recipe: Recipe, grid: Ablation) -> list[Cell]:
    """All cells of a grid, every combination with every seed, the recipe's own included.

    Raises:
        InputError: a key that no cell can differ in.
    """
    for key in (*grid.vary, *grid.fixed):
        _refuse_without_training(recipe, grid, key)
        if any(key == shared or key.startswith(f"{shared}.") for shared in _SHARED):
            raise InputError(
                f"'{key}' reaches neither a training nor a "
                "test-time setting, so all cells would be one; data that differ need a recipe"
            )
    combinations = itertools.product(*grid.vary.values())
    values = [dict(zip(grid.vary, combination, strict=True)) for combination in combinations]
    return _cells(recipe, values, grid.fixed, sorted({*grid.seeds, recipe.seed}))


def benchmarks_of(recipe: Recipe, grid: Ablation) -> list[str]:
    """The benchmarks that a grid is evaluated on, in the recipe's order."""
    chosen = grid.benchmarks or recipe.inference.benchmarks
    return [name for name in recipe.inference.benchmarks if name in chosen]


def rows_of(recipe: Recipe, grid: Ablation, every_seed: bool = True) -> Iterator[dict[str, Any]]:
    """The rows of a grid's table: a cell on a benchmark each.

    Args:
        every_seed: or the recipe's own alone.

    Returns:
        records of `baseline` (whether nothing differs from the recipe with what the grid fixes),
        `seed`, `benchmark`, `values` (key path -> value), `model` (the variant), `settings` (as
        they are used) and `key` (by which results of these settings are known).

    Raises:
        InputError: see `cells_of` and `resolve_settings`.
    """
    benchmarks = benchmarks_of(recipe, grid)
    # With the test-time settings that the grid fixes, of which the seed changes nothing.
    start = changed(recipe, grid.fixed)
    unvaried = {name: resolve_settings(start, name) for name in benchmarks}
    models = {c.seed: c.names for c in _cells(recipe, [{}], grid.fixed, [*grid.seeds, recipe.seed])}
    for cell in cells_of(recipe, grid):
        if not every_seed and cell.seed != recipe.seed:
            continue
        for benchmark in benchmarks:
            settings = resolve_settings(cell.recipe, benchmark)
            yield {
                "baseline": settings == unvaried[benchmark] and cell.names == models[cell.seed],
                "seed": cell.seed,
                "benchmark": benchmark,
                "values": dict(cell.values),
                "model": cell.names["model"],
                "settings": settings.as_dict(),
                "key": settings.key,
            }


def check_grid(name: str, recipe: Recipe, grid: Ablation) -> None:
    """Refuse a grid of which two cells are the same experiment.

    Raises:
        InputError: it names the two, or a cell that cannot be.
    """
    first: dict[tuple[str, str, str], dict[str, Any]] = {}
    try:
        rows = list(rows_of(recipe, grid, every_seed=False))
    except InputError as error:
        raise InputError(f"params.yaml: ablations.{name}: {error}") from None
    for row in rows:
        other = first.setdefault((row["benchmark"], row["model"], row["key"]), row)
        if other is not row:
            raise InputError(
                f"params.yaml: ablations.{name}: the cells {json.dumps(other['values'])} and "
                f"{json.dumps(row['values'])} are the same experiment on {row['benchmark']}: "
                "nothing that they differ in reaches a training or a test-time setting. Take one "
                "of them out, or vary something else"
            )


def trained_stages(recipe: Recipe, grids: Iterable[Ablation]) -> set[str]:
    """The stages that the recipe or a cell of its grids trains on images of the benchmark.

    Returns:
        of `segmenter` and `finetuned_clip`.
    """
    keys = {"segmenter": "segmenter.source", "finetuned_clip": "clip_finetune.source"}
    trained = keys.keys() - recipe.imported.keys()
    for grid in grids:
        for stage, key in keys.items():
            if "train" in (grid.fixed.get(key), *grid.vary.get(key, ())):
                trained.add(stage)
    return trained


def _refuse_without_training(recipe: Recipe, grid: Ablation, key: str) -> None:
    """Refuse a key of a training that no cell does."""
    block, _, rest = key.partition(".")
    stage = {"segmenter": "segmenter", "clip_finetune": "finetuned_clip"}.get(block)
    # Whether a model is tested with contextual shift is said where CLIP is fine-tuned.
    if stage is None or rest in ("source", "contextual_shift"):
        return
    if stage not in trained_stages(recipe, [grid]):
        raise InputError(
            f"'{key}' belongs to a training that does not happen: '{block}.source' takes the "
            f"weights from a file. Vary a key under 'inference', or '{block}.source' with 'train'"
        )


def _cells(
    recipe: Recipe,
    values: list[dict[str, Any]],
    fixed: Mapping[str, Any],
    seeds: list[int],
) -> list[Cell]:
    data = Path(benchmark_folder(recipe, recipe.datasets.train, trains=True)).name
    captions = caption_file(recipe)[1]
    names: dict[str, dict[str, str]] = {}
    cells = []
    for varied in values:
        trained = {k: v for k, v in {**fixed, **varied}.items() if not k.startswith("inference.")}
        mined = {key: trained[key] for key in trained if key in {**fixed, **_of_mining(varied)}}
        for seed in seeds:
            base = recipe.model_copy(update={"seed": seed})
            # Most grids vary what no training sees.
            same = json.dumps([trained, seed], sort_keys=True)
            if same not in names:
                of_mining = changed(base, mined)
                names[same] = _variants(changed(base, trained), of_mining, data, captions)
            cells.append(Cell(base, varied, fixed, seed, names[same]))
    return cells


def _of_mining(varied: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in varied.items() if not key.startswith("segmenter.")}


def _variants(recipe: Recipe, mining: Recipe, data: str, captions: str | None) -> dict[str, str]:
    """Stage -> its variant; what a stage reads of others is in its name by their names."""

    def name(part: parts.RecipePart, *reads: Any) -> str:
        made_of = [part.model_dump(exclude_defaults=True), _named_files(part), *reads]
        return f"seed={part.seed}-{short_hash(made_of)}"

    def of(stage: str, recipe: Recipe, *reads: Any) -> str:
        part = _PARTS[stage](recipe)
        if file := recipe.imported.get(stage):
            made_of = [part.model_dump(exclude_defaults=True), parts.by_content(":".join(file))]
            return f"{file[0]}-{short_hash(made_of)}"
        return name(part, *reads)

    clip, of_miner = of("clip", recipe), of("clip", mining)
    names = {"clip": clip, "segmenter": of("segmenter", recipe, clip, data)}
    reads = [of_miner]
    if "finetuned_clip" not in mining.imported:
        names["miner"] = of("segmenter", mining, of_miner, data)
        names["pairs"] = name(parts.pairs_part(mining), of_miner, names["miner"], data, captions)
        reads.append(names["pairs"])
    names["finetuned_clip"] = of("finetuned_clip", mining, *reads, data)
    made_of = [names[stage] for stage in ("clip", "segmenter", "finetuned_clip")]
    of_data = [data] if recipe.trains else []
    return {**names, "model": name(parts.model_part(recipe), *made_of, *of_data)}


def _named_files(part: parts.RecipePart) -> list[str | None]:
    """What the files hold that a part names."""
    backbone = part.segmenter.backbone.weights if part.segmenter else ""
    files = [backbone.removeprefix("file:")] if backbone.startswith("file:") else []
    if part.clip.source.startswith("packaged:"):
        files.append(f"{_PACKAGED}/{part.clip.source.removeprefix('packaged:')}.safetensors")
    return [known(file) for file in files]
