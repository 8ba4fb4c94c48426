"""A search with Optuna that continues where it was stopped."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from scan_core.errors import InputError
from scan_core.params.schema.grids import Search, Steps
from scan_core.storage.locks import exclusive

_log = logging.getLogger(__name__)
# Trials that one pass over the images evaluates.
BATCH = 10

Values = Mapping[str, Any]
Scores = Mapping[str, float]


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Attributes:
        number: in the order of the search, from 0.
        values: key -> value.
        scores: benchmark -> metric, a fraction.
    """

    number: int
    values: Values
    scores: Scores

    @property
    def mean(self) -> float:
        """Over the benchmarks."""
        return mean_of(self.scores)


def mean_of(scores: Scores) -> float:
    """The mean over the benchmarks, what is searched for the largest of."""
    return sum(scores.values()) / len(scores)


def run_study(
    search: Search,
    evaluate: Callable[[Sequence[Values]], Sequence[Scores]],
    journal: Path,
    identity: str,
) -> list[Trial]:
    """Ask the sampler, evaluate, tell, until there are enough trials.

    What is asked and told is in the journal at once. A search that was killed continues with the
    trials that it had asked for, and ends as it would have without: the sampler of each trial has
    a seed of its own.

    Args:
        search: keys, sampler, seed, number of trials.
        evaluate: scores of several settings, one for each.
        journal: file of Optuna's journal storage; it may hold several searches.
        identity: text of everything that a score depends on; another one is another search.

    Returns:
        the trials, in order.

    Raises:
        InputError: the journal is damaged, or another process uses it.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with exclusive(journal):
        return _run_study(search, evaluate, _opened(journal, identity))


def _run_study(
    search: Search, evaluate: Callable[[Sequence[Values]], Sequence[Scores]], study: optuna.Study
) -> list[Trial]:
    space = {key: _distribution(values) for key, values in search.vary.items()}
    if done := len(_of_state(study, TrialState.COMPLETE)):
        _log.info("continuing after %d trials", done)
    while (done := len(_of_state(study, TrialState.COMPLETE))) < search.trials:
        goal = min(search.trials, (done // BATCH + 1) * BATCH)
        asked = _asked_before(study, space)
        while done + len(asked) < goal:
            study.sampler = _sampler(search, len(study.get_trials(deepcopy=False)))
            trial = study.ask(space)
            asked.append((trial.number, trial.params))
        values = [_plain(search, params) for _, params in asked]
        for (number, _), scores in zip(asked, evaluate(values), strict=True):
            study.set_user_attr(str(number), dict(scores))
            study.tell(number, mean_of(scores))
        _log.info("%d of %d trials, best %.4f", goal, search.trials, study.best_value)
    finished = _of_state(study, TrialState.COMPLETE)[: search.trials]
    return [
        Trial(number, _plain(search, trial.params), study.user_attrs[str(trial.number)])
        for number, trial in enumerate(finished)
    ]


class _HeldAlready(JournalFileOpenLock):
    """The journal's lock is ours. Optuna's own would outlive a killed process."""

    def acquire(self) -> bool:
        """At once."""
        return True

    def release(self) -> None:
        """Nothing to do."""


def _opened(journal: Path, identity: str) -> optuna.Study:
    """The study of this identity, begun or continued."""
    if journal.is_file():
        content = journal.read_bytes()
        if not content.endswith(b"\n"):  # an entry that a killed process was writing
            os.truncate(journal, content.rfind(b"\n") + 1)
    try:
        backend = JournalFileBackend(str(journal), lock_obj=_HeldAlready(str(journal)))
        return optuna.create_study(
            storage=JournalStorage(backend),
            study_name=identity,
            direction="maximize",
            load_if_exists=True,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"the search's journal {journal} is damaged ({error}); delete it to search from the "
            "start"
        ) from None


def _asked_before(
    study: optuna.Study, space: Mapping[str, BaseDistribution]
) -> list[tuple[int, dict[str, Any]]]:
    """Trials that a killed process had asked for and not told; half-asked ones are given up."""
    asked = []
    for trial in _of_state(study, TrialState.RUNNING):
        if trial.params.keys() == space.keys():
            asked.append((trial.number, trial.params))
        else:
            study.tell(trial.number, state=TrialState.FAIL)
    return asked


def _of_state(study: optuna.Study, state: TrialState) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(state,))


def _distribution(values: Steps | list[Any]) -> BaseDistribution:
    if isinstance(values, Steps):
        return FloatDistribution(values.low, values.high, step=values.step)
    return CategoricalDistribution(values)


def _sampler(search: Search, trial: int) -> optuna.samplers.BaseSampler:
    seed = 10_000 * search.seed + trial
    if search.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def _plain(search: Search, params: Values) -> dict[str, Any]:
    """In the order of `params.yaml`, and 0.3 for 0.30000000000000004."""
    values = {key: params[key] for key in search.vary}
    return {k: round(v, 10) if isinstance(v, float) else v for k, v in values.items()}
