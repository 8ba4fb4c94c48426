"""What a run is: trainings, models, evaluations and grids, with numbers, curves and files.

The rule `mlflow_sync` says which files there are (`Results`); `sync` records what they hold.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from scan_core.params.metric_names import METRICS
from scan_core.storage.files import file_digest, json_digest, read_header, read_json, read_text

_DESCRIPTIONS = {
    "clip": "Training of the small CLIP on captioned images, or its download",
    "segmenter": "Training of the segmenter, with CLIP frozen",
    "finetuned_clip": "Fine-tuning of CLIP with the contextual shift on mined mask-noun pairs",
    "model": "Segmenter and CLIPs in one file, for `mlflow.pyfunc.load_model`",
    "evaluation": "The recipe's model with its own settings on every benchmark, and the report",
    "predictions": "Predictions of another model, scored as our own are",
    "grid": "Ablation grid; its children are the cells and seeds",
    "cell": "One combination of a grid's values, with one seed",
}


class Training(BaseModel):
    """Files of a training: its weights, `<stage>/<variant>/...` with the curves beside them."""

    weights: Path
    timing: Path

    @property
    def curves(self) -> Path:
        return self.weights.with_name("metrics.jsonl")


class Grid(BaseModel):
    """Files of a grid; the table of every seed lies in a folder of that name."""

    table: Path
    figure: Path


class Report(BaseModel):
    """Files of the recipe's own evaluation: `metrics.json` by benchmark, `per_class.csv` beside it.

    `predictions` of other models are `metrics.json` by method and benchmark, `artifacts` files or
    folders by their folder in MLflow.
    """

    variant: str
    weights: Path
    evaluations: dict[str, Path]
    predictions: dict[str, dict[str, Path]]
    artifacts: dict[str, list[Path]]
    diagnoses: dict[str, Path] = {}  # diagnosis.json by benchmark


class Results(BaseModel):
    """What the rule hands over, as JSON."""

    recipe: str
    settings: dict[str, Any]  # the whole recipe
    manifest: Path
    trainings: list[Training]
    grids: list[Grid]
    report: Report | None = None


@dataclass(frozen=True)
class Run:
    """One thing that was done, and what came of it.

    Attributes:
        stage: kind of run, a key of `_DESCRIPTIONS`.
        key: names it within its recipe.
        tags: such as variant, seed, versions.
        params: flat.
        metrics: flat; those of benchmarks are fractions, named `<benchmark>/<metric>`.
        curves: (quantity, step) -> value.
        tables: path in MLflow -> CSV file.
        artifacts: folder in MLflow -> files, or folders of files.
        documents: path in MLflow -> JSON.
        model: a checkpoint for `Scan.from_checkpoint`.
        model_of: key of the run whose model was evaluated.
        data: benchmark -> split that was used.
        weights: name of a file that weights come from -> its SHA-256.
        ended: seconds since the epoch; None: unknown.
        seconds: that it took.
        children: runs below this one.
    """

    stage: str
    key: str
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[tuple[str, int], float] = field(default_factory=dict)
    tables: Mapping[str, Path] = field(default_factory=dict)
    artifacts: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    documents: Mapping[str, Any] = field(default_factory=dict)
    model: Path | None = None
    model_of: str | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    ended: float | None = None
    seconds: float = 0.0
    children: tuple["Run", ...] = ()

    @property
    def name(self) -> str:
        """For people; a cell's is its parameters."""
        if self.stage == "cell":
            return " ".join(f"{key.rpartition('.')[2]}={v}" for key, v in self.params.items())
        return f"{self.stage} {self.tags.get('variant') or self.tags['grid']}"

    @property
    def all_tags(self) -> dict[str, str]:
        """The tags with stage and description."""
        description = {"mlflow.note.content": _DESCRIPTIONS[self.stage]}
        return {"stage": self.stage, **description, **self.tags}

    def files(self) -> Iterator[tuple[str, Path]]:
        """Folder in MLflow and file, of all artifacts."""
        for folder, paths in self.artifacts.items():
            for path in paths:
                inside = sorted(path.iterdir()) if path.is_dir() else [path]
                yield from ((folder, p) for p in inside if p.suffix in (".csv", ".md", ".png"))

    def digest(self) -> str:
        """Of everything that is recorded, without the children."""
        curves = [[*key, value] for key, value in self.curves.items()]
        files = [*self.tables.values(), *(file for _, file in self.files())]
        if self.model:
            files.append(self.model)
        content = [self.key, self.all_tags, self.params, self.metrics, curves]
        about = [self.documents, self.data, self.weights, self.ended, self.seconds]
        return json_digest([content, about, [file_digest(file) for file in files]])


def training_run(stage: str, variant: str, part: Mapping[str, Any], tags: Mapping[str, str]) -> Run:
    """A training without results.

    Args:
        part: of the recipe, that it depends on.
    """
    tags = {"variant": variant, "seed": str(part.get("seed")), **tags}
    return Run(stage, f"{stage}/{variant}", tags, flat(part))


def runs_of(results: Results) -> list[Run]:
    """All runs of a recipe.

    Raises:
        InputError: a file is missing or damaged.
    """
    # CLIP's weights may be downloaded: then there are no curves.
    runs = [_training(files, results) for files in results.trainings if files.curves.stat().st_size]
    if report := results.report:
        runs += [_model(report, results), _evaluation(report, results)]
        for method, paths in report.predictions.items():
            key, tags = f"predictions/{method}", {"variant": method}
            metrics, data = _scores(paths)[0], dict.fromkeys(paths, "val")
            runs.append(Run("predictions", key, tags, metrics=metrics, data=data))
    return runs + [_grid(grid, results) for grid in results.grids]


def flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Key path -> value as text, of nested mappings, without values that are null."""
    found: dict[str, str] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif value is not None:
            found[f"{prefix}{key}"] = _text(value)
    return found


def _text(value: Any) -> str:
    """JSON; a string without its quotation marks."""
    return value if isinstance(value, str) else json.dumps(value)


def _training(files: Training, results: Results) -> Run:
    stage, variant = files.weights.parts[-3:-1]
    _, header = read_header(files.weights, "make it again")
    rows = [json.loads(line) for line in read_text(files.curves).splitlines()]
    measured, ended = _measured(files.timing)
    part, tags = header.get("recipe_part", {}), _origin_tags(header)
    return replace(
        training_run(stage, variant, part, tags),
        metrics=measured,
        curves={(n, row["step"]): v for row in rows for n, v in row.items() if n != "step"},
        data={} if stage == "clip" else {results.settings["datasets"]["train"]: "train"},
        ended=ended,
        seconds=measured.get("system/job/seconds", 0.0),
    )


def _model(report: Report, results: Results) -> Run:
    _, header = read_header(report.weights, "make it again")
    tags = {"variant": report.variant, "seed": str(results.settings["seed"])}
    return Run(
        "model",
        f"model/{report.variant}",
        tags | _origin_tags(header),
        flat(header.get("recipe_part", {})),
        model=report.weights,
        weights={file["file"]: file["sha256"] for file in header.get("imported", {}).values()},
    )


def _evaluation(report: Report, results: Results) -> Run:
    """The recipe's own settings on every benchmark, with the whole report."""
    metrics, times = _scores(report.evaluations)
    return Run(
        "evaluation",
        f"evaluation/{report.variant}",
        {"variant": report.variant, "seed": str(results.settings["seed"])},
        flat(results.settings),
        metrics | times | _diagnosed(report.diagnoses),
        tables={
            f"per_class/{name}.json": path.with_name("per_class.csv")
            for name, path in report.evaluations.items()
        },
        artifacts=report.artifacts,
        documents={"recipe.json": results.settings},
        model_of=f"model/{report.variant}",
        data=dict.fromkeys(report.evaluations, "val"),
        ended=max(path.stat().st_mtime for path in report.evaluations.values()),
        seconds=sum(times.values()),
    )


def _grid(files: Grid, results: Results) -> Run:
    """A parent, and a child for every cell and seed."""
    rows = pd.read_csv(files.table, dtype=str, keep_default_na=False)
    rows[list(METRICS)] = rows[list(METRICS)].replace("", "nan").astype(float)
    keys = [str(name) for name in rows if "." in str(name)]  # paths of the recipe
    grid = rows["grid"].iloc[0]
    every_seed = files.table.parent.name == "every_seed"
    key = f"every_seed/{grid}" if every_seed else f"grid/{grid}"
    tags = {"grid": f"{grid}, every seed" if every_seed else grid}
    children = []
    for group, of_cell in rows.groupby([*keys, "seed"], sort=False):
        *values, seed = map(str, group)
        name, about = f"{key}/{' '.join(values)}/{seed}", {"seed": seed}
        params = {k: _text(json.loads(value)) for k, value in zip(keys, values, strict=True)}
        metrics = _named(of_cell.set_index("benchmark")[list(METRICS)])
        data = dict.fromkeys(of_cell["benchmark"], "val")
        children.append(Run("cell", name, tags | about, params | about, metrics, data=data))
    return Run(
        "grid",
        key,
        tags,
        {f"vary.{name}": f"[{', '.join(rows[name].unique())}]" for name in keys},
        tables={f"{grid}.json": files.table},
        artifacts={"": [files.figure]},
        documents={"recipe.json": results.settings},
        children=tuple(children),
    )


def _scores(paths: Mapping[str, Path]) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics of every benchmark and their means, and the seconds that evaluations took."""
    records = {name: read_json(path, "evaluate again") for name, path in paths.items()}
    times = {f"{name}/seconds": float(of["timing"]["seconds"]) for name, of in records.items()}
    scores = {(c, name): of["results"][c] for name, of in records.items() for c in of["results"]}
    metrics: dict[str, float] = {}
    for classifier, of in pd.DataFrame(scores).T.groupby(level=0, sort=False):
        prefix = "" if str(classifier) == "combined" else f"{classifier}/"
        metrics |= _named(of.droplevel(0), prefix)
    for name, record in records.items():
        metrics |= _known(f"{name}/", {}, record.get("intervals", {}).get("combined", {}))
        for classifier, gains in record.get("differences", {}).items():
            values = {f"{metric}_gain": gain[0] for metric, gain in gains.items() if gain}
            bounds = {f"{metric}_gain": gain[1:] for metric, gain in gains.items() if gain}
            metrics |= _known(f"{name}/{classifier}/", values, bounds)
        for part in record.get("cuts", []):
            prefix = f"{name}/cut/{part['cut']}/{part['part']}/"
            metrics |= _known(prefix, part["metrics"], part["intervals"])
    return metrics, times


def _known(
    prefix: str,
    values: Mapping[str, float | None],
    intervals: Mapping[str, Sequence[float] | None],
) -> dict[str, float]:
    """Values and their bounds by name, without those that have no meaning."""
    ends = {
        f"{metric}_{end}": bound
        for metric, bounds in intervals.items()
        for end, bound in zip(("low", "high"), bounds or (), strict=False)
    }
    named = {**values, **ends}
    return {f"{prefix}{name}": value for name, value in named.items() if value is not None}


def _diagnosed(paths: Mapping[str, Path]) -> dict[str, float]:
    """MIoU of every rung with its bounds, and the calibration errors, of every benchmark."""
    metrics: dict[str, float] = {}
    for name, path in paths.items():
        record = read_json(path, "diagnose again")
        for rung in record["ladder"]:
            shown = [metric for metric in METRICS if metric.startswith("miou")]
            parts = ({m: rung[part][m] for m in shown} for part in ("metrics", "intervals"))
            metrics |= _known(f"{name}/diagnosis/{rung['rung']}/", *parts)
        for one in record.get("tuned", []):
            prefix = f"{name}/calibration/{one['name'].replace(' ', '_')}/"
            numbers = ("clip_weight", "logit_scale", "miou", "error")
            metrics |= {prefix + n: one[n] for n in numbers if isinstance(one[n], float)}
        for classifier, kinds in record["calibration"].items():
            for kind, groups in kinds.items():
                for group, found in groups.items():
                    errors = {"ece": found["error"], "ece_equal_mass": found["error_equal_mass"]}
                    prefix = f"{name}/calibration/{classifier}/{kind}/{group}/"
                    metrics |= _known(prefix, errors, {})
    return metrics


def _named(scores: pd.DataFrame, prefix: str = "") -> dict[str, float]:
    """`<benchmark>/<prefix><metric>` -> value, with the mean over the benchmarks, without NaN.

    Args:
        scores: a row for each benchmark, a column for each metric.
    """
    scores = scores.astype(float)
    scores.loc["mean"] = scores.mean()
    return {
        f"{benchmark}/{prefix}{metric}": value
        for benchmark, row in scores.to_dict("index").items()
        for metric, value in row.items()
        if not math.isnan(value)
    }


def _measured(timing: Path) -> tuple[dict[str, float], float | None]:
    """Time and memory of a job as Snakemake measured them, and when it ended, if it is known."""
    if not timing.is_file():
        return {}, None
    last = pd.read_csv(timing, sep="\t", na_values=["-", "NA"]).iloc[-1]
    names = {"s": "seconds", "max_rss": "memory_mib", "mean_load": "cpu_percent"}
    values = last[list(names)].astype(float).dropna().rename(names).add_prefix("system/job/")
    return {str(name): value for name, value in values.items()}, timing.stat().st_mtime


def _origin_tags(header: Mapping[str, Any]) -> dict[str, str]:
    """Where weights come from, of the header's record: versions, commit, machine, threads."""
    tags = {f"version.{name}": str(v) for name, v in header.get("versions", {}).items()}
    for stage, file in header.get("imported", {}).items():
        tags[f"imported.{stage}"] = f"{file['kind']}:{file['file']} sha256:{file['sha256']}"
    if commit := header.get("commit"):
        tags |= {"git_commit": commit, "mlflow.source.git.commit": commit}
    return tags | {key: str(header[key]) for key in ("machine", "threads") if key in header}
