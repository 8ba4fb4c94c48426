"""A search of test-time settings with Optuna, and the files that it leaves."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from scan_core.params.schema.grids import Search, Steps
from scan_core.storage.files import atomic_path, write_text

# Trials that one pass over the images evaluates.
BATCH = 10

Values = Mapping[str, Any]
Scores = Mapping[str, float]


def run_study(
    search: Search,
    evaluate: Callable[[Sequence[Values]], Sequence[Scores]],
    database: Path,
    name: str,
) -> optuna.Study:
    """Ask the sampler, evaluate, tell, until there are enough trials.

    Args:
        search: keys, sampler, seed, number of trials.
        evaluate: for each of several trials' values the metric on each benchmark, fractions.
        database: SQLite file of Optuna; trials that it has are not made again.
        name: of the study in it: a hash of everything that a score depends on.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    database.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{database}", study_name=name, direction="maximize", load_if_exists=True
    )
    space = {key: _distribution(values) for key, values in search.vary.items()}
    while (left := search.trials - len(_completed(study))) > 0:
        asked = []
        for _ in range(min(BATCH, left)):
            study.sampler = _sampler(search, len(study.get_trials(deepcopy=False)))
            asked.append(study.ask(space))
        found = evaluate([values_of(search, trial.params) for trial in asked])
        for trial, scores in zip(asked, found, strict=True):
            for benchmark, score in scores.items():
                trial.set_user_attr(benchmark, score)
            study.tell(trial, _mean(scores))
        logging.info("%d trials left, best %.4f", left - len(asked), study.best_value)
    return study


def values_of(search: Search, params: Values) -> dict[str, Any]:
    """A trial's values in the order of `params.yaml`, with 0.3 for 0.30000000000000004."""
    values = {key: params[key] for key in search.vary}
    return {k: round(v, 10) if isinstance(v, float) else v for k, v in values.items()}


def write_report(
    search: Search, study: optuna.Study, own: Scores, recipe: str, folder: Path
) -> None:
    """Write `trials.csv`, `best.yaml`, `best_per_benchmark.yaml`, `search.png` and `search.svg`.

    Args:
        search: its keys and metric.
        study: its trials.
        own: the scores of the recipe's own settings.
        recipe: its name.
        folder: where to write, each file atomically.
    """
    trials = _completed(study)
    names = {"number": "trial", "value": "mean", **{f"params_{key}": key for key in search.vary}}
    names |= {f"user_attrs_{benchmark}": benchmark for benchmark in own}
    table = study.trials_dataframe(("number", "params", "value", "user_attrs", "state"))
    table = table[table["state"] == "COMPLETE"].rename(columns=names)
    table = table[["trial", *search.vary, "mean", *own]].round(10)
    write_text(folder / "trials.csv", table.to_csv(index=False))

    best = study.best_trial
    lines = [
        f"# {search.metric}, mean over the `train` splits of {', '.join(own)}:",
        f"# {100 * study.best_value:.2f} % with these settings, the best of {len(trials)} trials "
        f"(number {best.number}); {100 * _mean(own):.2f} % with the recipe's own.",
        f"# They belong under recipes.{recipe} in params.yaml.",
        "inference:",
        *(f"  {_key(k)}: {json.dumps(v)}" for k, v in values_of(search, best.params).items()),
    ]
    write_text(folder / "best.yaml", "\n".join(lines) + "\n")
    write_text(folder / "best_per_benchmark.yaml", _best_of_each(search, trials, own, recipe))

    axes = np.ravel(np.array(optuna.visualization.matplotlib.plot_slice(study)))
    for axis in axes:
        axis.axhline(_mean(own), color="black", linewidth=0.9, linestyle="--")
        axis.set_title("")
    axes[0].set_ylabel(f"mean {search.metric}; dashed: the recipe's own settings")
    for suffix in ("png", "svg"):
        with atomic_path(folder / f"search.{suffix}") as temporary:
            axes[0].figure.savefig(temporary, dpi=150)


def _best_of_each(search: Search, trials: Sequence[FrozenTrial], own: Scores, recipe: str) -> str:
    best = {name: max(trials, key=lambda trial: trial.user_attrs[name]) for name in own}
    values = {name: values_of(search, trial.params) for name, trial in best.items()}
    lines = [
        f"# For each benchmark by itself the best of {len(trials)} trials: more settings, chosen "
        "on fewer images.",
        f"# {search.metric} on the `train` splits, and with the recipe's own settings:",
        *(
            f"# {name}: {100 * trial.user_attrs[name]:.2f} %, {100 * own[name]:.2f} %"
            for name, trial in best.items()
        ),
        f"# They belong under recipes.{recipe} in params.yaml; benchmarks that are not here need "
        "a value too.",
        "inference:",
    ]
    for key in search.vary:
        lines.append(f"  {_key(key)}:")
        lines += [f"    {name}: {json.dumps(values[name][key])}" for name in own]
    return "\n".join(lines) + "\n"


def _completed(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _distribution(values: Steps | list[Any]) -> BaseDistribution:
    if isinstance(values, Steps):
        return FloatDistribution(values.low, values.high, step=values.step)
    return CategoricalDistribution(values)


def _sampler(search: Search, trial: int) -> BaseSampler:
    """Of its own for each trial, so that a search that is continued does not repeat its draws."""
    seed = 10_000 * search.seed + trial
    return RandomSampler(seed) if search.sampler == "random" else TPESampler(seed=seed)


def _mean(scores: Scores) -> float:
    return sum(scores.values()) / len(scores)


def _key(path: str) -> str:
    return path.removeprefix("inference.")
