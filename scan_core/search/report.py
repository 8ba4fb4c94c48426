"""What is left of a search: a table of its trials, what to paste into params.yaml, a figure."""

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scan_core.params.metric_names import METRICS
from scan_core.params.schema.grids import Search
from scan_core.reporting.figures import PALETTE, new_figure, save_figure, styled
from scan_core.reporting.results import capitalised, key_name
from scan_core.search.study import Scores, Trial, mean_of
from scan_core.storage.atomic import write_text


def write_report(
    search: Search, trials: Sequence[Trial], own: Scores, recipe: str, folder: Path
) -> None:
    """Write `trials.csv`, `best.yaml`, `best_per_benchmark.yaml`, and `search` as PNG, PDF and SVG.

    Args:
        search: its keys and metric.
        trials: all of them.
        own: the scores of the recipe's own settings.
        recipe: its name.
        folder: where to write, each file atomically.
    """
    write_text(folder / "trials.csv", trials_table(search, trials))
    write_text(folder / "best.yaml", best_settings(search, trials, own, recipe))
    write_text(folder / "best_per_benchmark.yaml", best_of_each(search, trials, own, recipe))
    save_figure(search_figure(search, trials, own), folder, "search")


def trials_table(search: Search, trials: Sequence[Trial]) -> str:
    """A row for each trial as CSV; values are JSON texts, scores fractions."""
    benchmarks = list(trials[0].scores)
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", *search.vary, "mean", *benchmarks])
    for trial in trials:
        values = [json.dumps(trial.values[key]) for key in search.vary]
        scores = [f"{trial.scores[name]:.6f}" for name in benchmarks]
        writer.writerow([trial.number, *values, f"{trial.mean:.6f}", *scores])
    return text.getvalue()


def best_settings(search: Search, trials: Sequence[Trial], own: Scores, recipe: str) -> str:
    """The settings with the largest mean, the first of equals, as a part of `params.yaml`."""
    best = max(trials, key=lambda trial: trial.mean)
    lines = [
        f"# {search.metric}, mean over the `train` splits of {', '.join(own)}:",
        f"# {100 * best.mean:.2f} % with these settings, the best of {len(trials)} trials (number "
        f"{best.number}); {100 * mean_of(own):.2f} % with the recipe's own.",
        f"# They belong under recipes.{recipe} in params.yaml.",
        "inference:",
        *(f"  {_key(key)}: {json.dumps(value)}" for key, value in best.values.items()),
    ]
    return "\n".join(lines) + "\n"


def best_of_each(search: Search, trials: Sequence[Trial], own: Scores, recipe: str) -> str:
    """For each benchmark the settings that are best on it alone."""
    best = {name: max(trials, key=lambda trial: trial.scores[name]) for name in own}
    lines = [
        f"# For each benchmark by itself the best of {len(trials)} trials: more settings, chosen "
        "on fewer images.",
        f"# {search.metric} on the `train` splits, and with the recipe's own settings:",
        *(f"# {n}: {100 * t.scores[n]:.2f} %, {100 * own[n]:.2f} %" for n, t in best.items()),
        f"# They belong under recipes.{recipe} in params.yaml; benchmarks that are not here need "
        "a value too.",
        "inference:",
    ]
    for key in search.vary:
        lines.append(f"  {_key(key)}:")
        lines += [f"    {name}: {json.dumps(t.values[key])}" for name, t in best.items()]
    return "\n".join(lines) + "\n"


@styled
def search_figure(search: Search, trials: Sequence[Trial], own: Scores) -> Figure:
    """The trials in their order, and over the values of each key.

    Args:
        search: its keys and metric.
        trials: all of them.
        own: the scores of the recipe's own settings, a dashed line.
    """
    means = 100 * np.array([trial.mean for trial in trials])
    best = int(means.argmax())
    panels = len(search.vary) + 1
    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure, axes = new_figure(3.8 * columns, 3.1 * rows + 0.6, rows, columns, share_y=True)
    for axis in axes[panels:]:
        axis.set_visible(False)
    numbers = np.arange(len(trials))
    axes[0].plot(numbers, np.maximum.accumulate(means), color=PALETTE[1], label="best so far")
    axes[0].set_xlabel("trial")
    _points(axes[0], numbers, means, best)
    for axis, key in zip(axes[1:], search.vary, strict=False):
        values = [trial.values[key] for trial in trials]
        words = list(dict.fromkeys(map(str, search.vary[key]))) if _is_words(values) else []
        positions = np.array([words.index(str(v)) if words else float(v) for v in values])
        _points(axis, positions, means, best)
        axis.set_xlabel(capitalised(key_name(key)))
        if words:
            axis.set_xticks(range(len(words)), words)
            axis.margins(x=0.25)
    for number, axis in enumerate(axes[:panels]):
        axis.axhline(
            100 * mean_of(own), color="black", linewidth=0.9, linestyle="--",
            label="the recipe's own settings",
        )  # fmt: skip
        axis.grid()
        if number % columns == 0:
            axis.set_ylabel(f"mean {METRICS[search.metric].name}, %")
    figure.suptitle(f"{len(trials)} trials, mean over {len(own)} benchmarks")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _points(axis: Axes, x: NDArray[Any], y: NDArray[Any], best: int) -> None:
    dots: dict[str, Any] = {"markersize": 4, "alpha": 0.5, "markeredgewidth": 0}
    axis.plot(x, y, "o", color=PALETTE[0], label="trial", **dots)
    star: dict[str, Any] = {"markersize": 14, "markeredgecolor": "black"}
    axis.plot(x[best], y[best], "*", color=PALETTE[4], label="best", **star)


def _is_words(values: Sequence[Any]) -> bool:
    return any(isinstance(value, str) for value in values)


def _key(path: str) -> str:
    return path.removeprefix("inference.")
