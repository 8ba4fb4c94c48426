"""Results as evaluation and training leave them, as data frames, and the names that people read.

Metrics are fractions here, as in the files; NaN stands for a metric that does not exist, such as
the mIoU of unseen classes where the notion does not apply.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scan_core.errors import InputError
from scan_core.params.classifiers import CLASSIFIERS
from scan_core.params.metric_names import METRICS
from scan_core.storage.files import read_json, read_text

# Key path of a recipe -> its name, where the last word of the path does not say enough.
_KEY_NAMES = {
    "clip.source": "source of CLIP",
    "clip_finetune.contextual_shift": "contextual shift",
    "inference.clip_weight": "ensemble weight of CLIP",
    "inference.prompts": "prompt templates",
    "segmenter.semantic_integration.clip_layers": "CLIP layers for semantic integration",
    "segmenter.semantic_integration.enabled": "semantic integration",
    "segmenter.semantic_integration.sigmas": "σ of the low-pass filter",
    "segmenter.training.steps": "training steps",
}
_ABOUT = ("recipe", "variant", "benchmark", "class_count", "images")
# What the columns of a metric's spread end in: its interval, and how much more something has.
SPREAD = ("_low", "_high", "_gain", "_gain_low", "_gain_high")
_GROUPS = {"true": "seen", "false": "unseen", "": "all classes"}


def key_name(path: str) -> str:
    """A recipe's key, such as `inference.mask_threshold`, in words: `mask threshold`."""
    return _KEY_NAMES.get(path) or path.rpartition(".")[2].replace("_", " ")


def capitalised(words: str) -> str:
    """Words that begin a label or a heading; `mIoU` and `σ` stay as they are."""
    first, _, rest = words.partition(" ")
    plain = first.islower() and first.isascii()
    return f"{first.capitalize()} {rest}".strip() if plain else words


def load_evaluations(paths: Iterable[Path], external: Iterable[Path] = ()) -> pd.DataFrame:
    """Read `metrics.json` files: a row for each benchmark and classifier.

    Args:
        paths: of one model.
        external: of predictions of other models, which name their method as recipe.

    Returns:
        columns path, recipe, variant, benchmark, class_count, images, classifier (a key of the
        results), name (of the classifier or method, for people), external, imported (whether
        weights come from a file), and the metrics; of each metric `_low` and `_high`, its interval
        over the images, and `_gain`, `_gain_low`, `_gain_high`, how much the whole model is above
        the classifier. Benchmark and name are categories in the order in which tables show them.

    Raises:
        InputError: damaged, a benchmark that is there twice, or results of several models.
    """
    ours, theirs = map(_load_evaluation, paths), map(_load_evaluation, external)
    own = pd.concat(ours, ignore_index=True)
    if len(models := own[["recipe", "variant"]].drop_duplicates()) > 1:
        found = ", ".join(" ".join(row) for row in models.to_numpy())
        raise InputError(f"evaluations of several models ({found}); expected one, grids compare")
    other = pd.concat([own.iloc[:0], *theirs], ignore_index=True).query("classifier == 'combined'")
    both = pd.concat(
        [
            own.assign(external=False, name=own["classifier"].map(CLASSIFIERS)),
            other.assign(external=True, name=other["recipe"] + " (given predictions)"),
        ],
        ignore_index=True,
    )
    if (twice := both.duplicated(["name", "benchmark"])).any():
        first = both[twice].iloc[0]
        raise InputError(f"{first['benchmark']} of {first['recipe']} is there twice; give it once")
    both["benchmark"] = ordered(both["benchmark"])
    both["name"] = ordered(both["name"], CLASSIFIERS.values())
    return both.sort_values(["benchmark", "name"], ignore_index=True)


def ordered(values: "pd.Series[Any]", first: Iterable[Any] = ()) -> pd.Categorical:
    """Values as categories in the order in which they come, which groups and pivots keep.

    Args:
        values: of a column.
        first: values that come before all others.
    """
    return pd.Categorical(values, list(dict.fromkeys([*first, *values])))


def read_table(path: Path, columns: Iterable[str], numbers: Iterable[str]) -> pd.DataFrame:
    """Read a CSV file; what is no number is text as it stands, also `NA` and `null`.

    Raises:
        InputError: damaged, empty, or a column is missing.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        if missing := [column for column in columns if column not in frame]:
            raise ValueError(f"no column '{missing[0]}'")
        if frame.empty:
            raise ValueError("no rows")
        found = [number for number in numbers if number in frame]
        return frame.assign(**{n: frame[n].replace("", "nan").astype(float) for n in found})
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); make it again") from None


def load_per_class(path: Path) -> pd.DataFrame:
    """Read a `per_class.csv`, in training-id order.

    Returns:
        columns name, iou, and group: `seen`, `unseen` or `all classes`.

    Raises:
        InputError: damaged.
    """
    frame = read_table(path, ("name", "seen", "iou"), ("iou",))
    return frame.assign(group=frame["seen"].map(_GROUPS))[["name", "group", "iou"]]


def load_curves(path: Path) -> pd.DataFrame:
    """Read a `metrics.jsonl`: a row for each step, a column for each quantity.

    Where a step is there twice, the later value counts.

    Raises:
        InputError: damaged, or nothing was measured.
    """
    lines = read_text(path, "train again").splitlines()
    try:
        rows = pd.DataFrame([json.loads(line) for line in lines]).astype({"step": int})
        curves = rows.groupby("step").last().astype(float)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged or holds no measurement ({error}); expected lines such as "
            '{"step": 10, "loss": 3.2}'
        ) from None
    return curves


def load_timings(folder: Path) -> pd.DataFrame:
    """How long each rule took, as Snakemake measured it, the longest first.

    Args:
        folder: of Snakemake's benchmark files, `<rule>.tsv` or `<rule>/<variant>.tsv`.

    Returns:
        indexed by rule: jobs, seconds, and processor_seconds without the jobs that were over
        before Snakemake could look at them.
    """
    tables = [
        pd.read_csv(path, sep="\t", na_values=["NA", "-"]).assign(
            rule=path.relative_to(folder).parts[0].removesuffix(".tsv")
        )
        for path in sorted(folder.rglob("*.tsv"))
    ]
    if not tables:
        raise InputError(f"{folder} holds no timings: nothing has been run there")
    rules = pd.concat(tables).groupby("rule")
    columns = {"jobs": ("s", "size"), "seconds": ("s", "sum")}
    table = rules.agg(**columns, processor_seconds=("cpu_time", "sum"))
    return table.sort_values("seconds", ascending=False)


def as_fractions(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """The metrics of a frame, checked: tables multiply them by 100. Those that it lacks are NaN.

    Raises:
        InputError: a number in per cent, say.
    """
    values = frame.reindex(columns=list(METRICS)).astype(float)
    wrong = values.columns[((values < -1e-9) | (values > 1 + 1e-9)).any()]
    if len(wrong):
        raise InputError(f"{path}: {wrong[0]} is no fraction from 0 to 1; make it again")
    return frame.assign(**values)


def spread(
    metrics: Iterable[str], bounds: Mapping[str, Any], gains: Mapping[str, Any]
) -> dict[str, Any]:
    """The columns of the spread of metrics.

    Args:
        metrics: their names.
        bounds: of the metrics, as far as they are known.
        gains: how much more something has, and its bounds, as far as they are known.
    """
    return {
        f"{name}{end}": value
        for name in metrics
        for end, value in zip(
            SPREAD,
            [*(bounds.get(name) or [np.nan] * 2), *(gains.get(name) or [np.nan] * 3)],
            strict=True,
        )
    }


def excludes_zero(low: Any, high: Any) -> Any:
    """Whether an interval does; NaN bounds do not."""
    return (low > 0) | (high < 0)


def _load_evaluation(path: Path) -> pd.DataFrame:
    record = read_json(path, "evaluate again")
    try:
        about = {key: record[key] for key in _ABOUT}
        about |= {"path": path, "imported": bool(record.get("imported"))}
        bounds, gains = record.get("intervals", {}), record.get("differences", {})
        rows = [
            about
            | {"classifier": classifier}
            | {name: numbers[name] for name in METRICS}
            | spread(METRICS, bounds.get(classifier, {}), gains.get(classifier, {}))
            for classifier, numbers in record["results"].items()
            if CLASSIFIERS[classifier]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is no evaluation ({reason}); evaluate again") from None
    return as_fractions(path, pd.DataFrame(rows))
