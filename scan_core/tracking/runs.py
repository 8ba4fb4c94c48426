"""What there is to compare: trainings, models, evaluations and grids, as runs with numbers.

Runs are described here from the files of the results and recorded by `scan_core.tracking`.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from scan_core.errors import InputError
from scan_core.params.classifiers import CLASSIFIERS
from scan_core.params.grid import STAGES, Cell, cell_of, cells_of
from scan_core.params.metric_names import METRICS
from scan_core.params.recipe_part import RecipePart
from scan_core.params.schema.grids import Ablation
from scan_core.params.schema.recipe import Recipe
from scan_core.reporting.grids import grid_tables, load_grid
from scan_core.reporting.results import load_curves, load_evaluations
from scan_core.storage.files import read_text
from scan_core.tracking.datasets import DataUse, Manifest

# Stage of a training -> the stage whose variants it makes, the folder of these, and its rule.
TRAININGS = {
    "clip": ("clip", "clip", "clip_weights"),
    "segmenter": ("segmenter", "segmenter", "train_segmenter"),
    "clip_finetune": ("finetuned_clip", "finetuned_clip", "finetune_clip"),
}
# Way of classifying -> what stands between benchmark and metric in a number's name.
_WAYS = {"combined": "", **{way: f"{way}/" for way in CLASSIFIERS if way != "combined"}}


@dataclass(frozen=True)
class Run:
    """One thing that was done, and its numbers.

    Attributes:
        key: names it within its recipe, for ever.
        name: what people read.
        tags: such as stage, variant, seed.
        params: flat.
        metrics: flat; metrics of benchmarks are fractions and named `<benchmark>/<metric>`.
        curves: quantity -> step -> value.
        files: path within the run -> file.
        texts: path within the run -> contents.
        model: a checkpoint for `Scan.from_checkpoint`.
        model_of: key of the run whose model the metrics are of.
        data: what it was made with.
        resources: a record of time and memory, if there is one.
        children: runs below this one.
    """

    key: str
    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    model: Path | None = None
    model_of: str | None = None
    data: tuple[DataUse, ...] = ()
    resources: Path | None = None
    children: tuple["Run", ...] = ()

    def identity(self) -> str:
        """A hash of what was to be done: 16 hexadecimal digits."""
        return _hash([self.key, self.params])

    def fingerprint(self) -> str:
        """A hash of everything that is recorded: 16 hexadecimal digits."""
        files = {path: _file_hash(file) for path, file in self.files.items()}
        model = None if self.model is None else _file_hash(self.model)
        resources = sorted(self.measured().items())
        parts = [self.key, self.name, self.tags, self.params, self.metrics, self.curves, files]
        data = [asdict(use) for use in self.data]
        return _hash([*parts, self.texts, model, resources, data, self.model_of])

    def measured(self) -> dict[str, float]:
        """Time and memory that it took, as Snakemake measured them; nothing where it did not."""
        if self.resources is None or not self.resources.is_file():
            return {}
        header, *rows = (line.split("\t") for line in read_text(self.resources).splitlines())
        if not rows:
            return {}
        columns = dict(zip(header, rows[-1], strict=False))
        wanted = {"s": "seconds", "max_rss": "memory_mib", "mean_load": "cpu_percent"}
        found = {}
        for column, name in wanted.items():
            try:
                found[f"system/job/{name}"] = float(columns[column])
            except (KeyError, ValueError):
                continue  # a job that was too short to be measured
        return found


def training_run(stage: str, variant: str, part: RecipePart) -> Run:
    """A training, before it has any numbers.

    Args:
        stage: one of `TRAININGS`.
        variant: that it makes.
        part: of the recipe, that it depends on.
    """
    return Run(
        key=f"{stage}/{variant}",
        name=f"{stage} {variant}",
        tags={"stage": stage, "variant": variant, "seed": str(part.seed)},
        params=flat(part.model_dump(exclude_none=True)),
    )


def runs_of(
    recipe: Recipe,
    grids: Mapping[str, Ablation],
    results: Path,
    folders: Mapping[str, Any],
    with_report: bool,
    every_seed: bool = False,
) -> list[Run]:
    """Everything of a recipe that was made.

    Args:
        recipe: with its seed.
        grids: name -> a grid that was made.
        results: folder of the recipe.
        folders: of its model's `evaluations` (by benchmark) and of the `predictions` of others (by
            method and benchmark).
        with_report: whether tables, figures and pictures were made, and are to be recorded.
        every_seed: the grids with all their seeds, instead of the recipe's own alone.

    Raises:
        InputError: a file that is missing or damaged, or a grid's table of other settings.
    """
    manifest = Manifest(results / "dataset_manifest.json")
    main = cell_of(recipe)
    cells = [main] if with_report else []
    for grid in grids.values():
        cells += _cells(recipe, grid, every_seed)
    runs = _trainings(cells, results, manifest)
    if with_report:
        runs += [_model(main, results), _evaluation(main, results, folders, manifest)]
        runs += _predictions(recipe, folders["predictions"], manifest)
    runs += [
        _grid(recipe, name, grid, results, every_seed, manifest) for name, grid in grids.items()
    ]
    return [_with_tags(run, {"dataset_manifest": manifest.digest}) for run in runs]


def flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Key path -> value as text, of nested mappings."""
    found: dict[str, str] = {}
    for key, value in document.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{path}.")
        else:
            found[path] = value if isinstance(value, str) else json.dumps(value)
    return found


def _trainings(cells: Iterable[Cell], results: Path, manifest: Manifest) -> list[Run]:
    runs = {}
    for cell in cells:
        for stage, (made, folder, rule) in TRAININGS.items():
            variant = cell.names[made]
            run = training_run(stage, variant, cell.part(made))
            record = results.parents[1] / STAGES / folder / variant / "metrics.jsonl"
            if run.key in runs or not read_text(record):
                continue  # CLIP's weights are not always trained here
            # CLIP is trained on captioned images of their own, which are no benchmark.
            trained_on = [] if stage == "clip" else [cell.recipe.datasets.train]
            runs[run.key] = replace(
                run,
                data=manifest.uses(trained_on, "train"),
                curves=_curves(record),
                resources=results / "timings" / rule / f"{variant}.tsv",
            )
    return list(runs.values())


def _curves(record: Path) -> dict[str, dict[int, float]]:
    return {str(name): dict(of.dropna().items()) for name, of in load_curves(record).items()}


def _model(cell: Cell, results: Path) -> Run:
    variant = cell.names["model"]
    return Run(
        key=f"model/{variant}",
        name=f"model {variant}",
        tags={"stage": "model", "variant": variant, "seed": str(cell.seed)},
        params=flat(cell.part("model").model_dump(exclude_none=True)),
        model=results / "release" / "model.safetensors",
    )


def _evaluation(cell: Cell, results: Path, folders: Mapping[str, Any], manifest: Manifest) -> Run:
    """The recipe's headline: its own settings on every benchmark, with the whole report."""
    variant = cell.names["model"]
    of_benchmark = {name: Path(folder) for name, folder in folders["evaluations"].items()}
    benchmarks = list(of_benchmark)
    metrics, files = {}, {}
    found = load_evaluations(folder / "metrics.json" for folder in of_benchmark.values())
    for row in found.to_dict("records"):
        for metric in METRICS:
            metrics[f"{row['benchmark']}/{_WAYS[row['classifier']]}{metric}"] = row[metric]
    for name, folder in of_benchmark.items():
        files[f"per_class/{name}.csv"] = folder / "per_class.csv"
        files[f"pictures/{name}.png"] = results / "qualitative" / f"{name}.png"
    for kind, suffixes in {"tables": (".csv", ".md"), "figures": (".png",)}.items():
        for path in sorted((results / kind).iterdir()):
            if path.suffix in suffixes:
                files[f"{kind}/{path.name}"] = path
    return Run(
        key=f"evaluation/{variant}",
        name=f"evaluation {variant}",
        tags={"stage": "evaluation", "variant": variant, "seed": str(cell.seed)},
        params=flat(cell.recipe.model_dump()),
        metrics=_numbers(metrics),
        model_of=f"model/{variant}",
        data=manifest.uses(benchmarks, "val"),
        files=files,
        texts={"recipe.json": json.dumps(cell.recipe.model_dump(), indent=1)},
    )


def _predictions(
    recipe: Recipe, folders: Mapping[str, Mapping[str, str]], manifest: Manifest
) -> list[Run]:
    """Predictions of other models, each model a run of its own."""
    runs = []
    for method, of_method in folders.items():
        places = {benchmark: Path(folder) for benchmark, folder in of_method.items()}
        metrics = {
            f"{row['benchmark']}/{metric}": row[metric]
            for row in load_evaluations(folder / "metrics.json" for folder in places.values())
            .query("classifier == 'combined'")
            .to_dict("records")
            for metric in METRICS
        }
        runs.append(
            Run(
                key=f"predictions/{method}",
                name=f"predictions {method}",
                tags={"stage": "predictions", "variant": method},
                params={"predictions": recipe.predictions[method]},
                metrics=_numbers(metrics),
                data=manifest.uses(list(of_method), "val"),
                files={f"per_class/{b}.csv": f / "per_class.csv" for b, f in places.items()},
            )
        )
    return runs


def _cells(recipe: Recipe, grid: Ablation, every_seed: bool) -> list[Cell]:
    return [c for c in cells_of(recipe, grid) if every_seed or c.seed == recipe.seed]


def _grid(
    recipe: Recipe,
    grid_name: str,
    ablation: Ablation,
    results: Path,
    every_seed: bool,
    manifest: Manifest,
) -> Run:
    """A parent, and a child for every cell and seed."""
    folder = results / "ablations" / ("every_seed" if every_seed else "")
    table = folder / f"{grid_name}.csv"
    grid = load_grid(table)
    name = f"{grid.name}, every seed" if every_seed else grid.name
    group = "every_seed" if every_seed else "grid"
    benchmarks = list(grid.rows["benchmark"].cat.categories)
    children = []
    for cell in _cells(recipe, ablation, every_seed):
        values = {k: v if isinstance(v, str) else json.dumps(v) for k, v in cell.values.items()}
        rows = grid.rows[grid.rows["seed"] == cell.seed]
        if grid.keys == list(values):
            rows = rows[(rows[grid.keys] == pd.Series(values, dtype=object)).all(axis=1)]
        if len(rows) != len(benchmarks):
            raise InputError(f"{table} is of other settings than the grid; make it again")
        metrics = {
            f"{row['benchmark']}/{metric}": row[metric]
            for row in rows.to_dict("records")
            for metric in METRICS
        }
        spoken = [f"{key.rsplit('.', 1)[-1]}={value}" for key, value in values.items()]
        children.append(
            Run(
                key=f"{group}/{grid.name}/{json.dumps([*cell.values.values()])}/{cell.seed}",
                name=" ".join([*spoken, f"seed={cell.seed}"]),
                tags={
                    "stage": "cell",
                    "grid": name,
                    "variant": cell.names["model"],
                    "seed": str(cell.seed),
                },
                params=flat(cell.recipe.model_dump()),
                metrics=_numbers(metrics),
                data=manifest.uses(benchmarks, "val"),
            )
        )
    tables = "\n".join(one.markdown() for one in grid_tables(grid))
    drawn = (table.with_suffix(".png"), results / "figures" / f"ablation_{grid.name}.png")
    figure = next((path for path in drawn if path.is_file()), None)
    return Run(
        key=f"{group}/{grid.name}",
        name=f"grid {name}",
        tags={"stage": "grid", "grid": name},
        params=flat(ablation.model_dump(include={"vary", "seeds"})),
        files={table.name: table, **({figure.name: figure} if figure else {})},
        texts={
            f"{grid.name}.md": tables,
            "recipe.json": json.dumps(recipe.model_dump(), indent=1),
        },
        children=tuple(children),
    )


def _with_tags(run: Run, tags: Mapping[str, str]) -> Run:
    children = tuple(_with_tags(child, tags) for child in run.children)
    return replace(run, tags={**run.tags, **tags}, children=children)


def _numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    """Without metrics that do not exist (NaN)."""
    return {name: value for name, value in metrics.items() if not math.isnan(value)}


def _hash(contents: Any) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()[:16]


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
