"""Figures of one model's results: its classes, seen and unseen ones, what it confuses."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from scan_core.errors import InputError
from scan_core.params.classifiers import CLASSIFIERS
from scan_core.reporting.figures.plotting import ALL, SEEN, UNSEEN, new_figure, styled
from scan_core.reporting.results import ClassResult, Evaluation, GivenMethod

_GROUPS = {True: ("seen", SEEN), False: ("unseen", UNSEEN), None: ("all classes", ALL)}
_BARS = 45  # named bars that stand below each other
_NAMED = 180  # more classes than this are drawn without names
_LONGEST_NAME = 28  # characters
_PAIRS = 15
_CHANCE: dict[str, Any] = {"color": "black", "linewidth": 1, "linestyle": "--"}
# Classes with a smaller share of the ground truth are confused by chance.
_SMALLEST_SHARE = 0.001


@styled
def per_class_figure(classes: Sequence[ClassResult], benchmark: str, method: str = "") -> Figure:
    """Bars of every class's IoU, the best first, coloured by seen and unseen.

    Args:
        classes: of the benchmark; those without ground truth are left out.
        benchmark: for the title.
        method: whose predictions were given, for the title; empty: ours.
    """
    ranked = sorted((c for c in classes if not math.isnan(c.iou)), key=lambda c: -c.iou)
    if len(ranked) <= _NAMED:
        columns = max(1, -(-len(ranked) // _BARS))
        length = -(-len(ranked) // columns)
        figure, axes = new_figure(3.6 * columns + 1, 0.19 * length + 1.6, 1, columns)
        for number, axis in enumerate(axes):
            _named_bars(axis, ranked[number * length : (number + 1) * length], length)
            axis.set_xlabel("IoU, %")
    else:
        figure, axes = new_figure(12, 4.2)
        heights = [100 * c.iou for c in ranked]
        axes[0].bar(range(len(ranked)), heights, width=1, color=[_color(c) for c in ranked])
        axes[0].set(xlabel="classes, the best first", ylabel="IoU, %", ylim=(0, 100))
        axes[0].margins(x=0.01)
        axes[0].grid(axis="y")
    absent = len(classes) - len(ranked)
    between = "\n" if len(axes) == 1 and len(ranked) <= _NAMED else ", "  # narrow
    without = f"{between}{absent} more without ground truth" if absent else ""
    of = f"{benchmark}, {method}" if method else benchmark
    figure.suptitle(f"{of}: IoU of {len(ranked)} classes{without}")
    handles: list[Artist] = []
    for seen, (name, color) in _GROUPS.items():
        if members := [c.iou for c in ranked if c.seen is seen]:
            mean = 100 * statistics.fmean(members)
            label = f"{name}: {len(members)} classes, mean {mean:.1f}"
            handles.append(Patch(color=color, label=label))
    _legend(figure, handles, 1 if len(axes) == 1 and len(ranked) <= _NAMED else len(handles))
    return figure


@styled
def seen_unseen_figure(
    evaluations: Sequence[Evaluation], given: Sequence[GivenMethod] = ()
) -> Figure:
    """Bars of the mIoU of all, seen and unseen classes for each way of classifying.

    Args:
        evaluations: of one model, at least one; one axis for each.
        given: predictions of other models, which stand beside the ways of classifying.
    """
    columns = min(3, len(evaluations))
    rows = -(-len(evaluations) // columns)
    size = (3.9 * columns + 0.6, 2.9 * rows + 0.5)
    figure, axes = new_figure(*size, rows, columns, share_y=True)
    shown: set[str] = set()
    groups = {"miou": (None, ALL), "miou_seen": (True, SEEN), "miou_unseen": (False, UNSEEN)}
    modes = [mode for mode in CLASSIFIERS if mode != "chance"]
    for axis, evaluation in zip(axes, evaluations, strict=False):
        shown_results = {
            CLASSIFIERS[mode].replace(" ", "\n", 1): evaluation.results.get(mode, {})
            for mode in modes
        }
        for method in given:
            if of_method := method.evaluations.get(evaluation.benchmark):
                shown_results[f"{method.name}\n(given)"] = of_method.results["combined"]
        places = len(shown_results)
        bars = {
            metric: [100 * of.get(metric, math.nan) for of in shown_results.values()]
            for metric in groups
        }
        # Where the notion of seen classes does not apply, all classes stand alone.
        known = [metric for metric in groups if not all(math.isnan(v) for v in bars[metric])]
        shown.update(known)
        for number, metric in enumerate(known):
            positions = np.arange(places) + (number - (len(known) - 1) / 2) * 0.27
            drawn = axis.bar(positions, bars[metric], 0.25, color=groups[metric][1])
            labels = ["" if math.isnan(value) else f"{value:.0f}" for value in bars[metric]]
            axis.bar_label(drawn, labels, fontsize=8, padding=1)
        axis.set_xlim(-0.5, places - 0.5)
        if "chance" in evaluation.results:
            chance = 100 * evaluation.results["chance"]["miou"]
            axis.axhline(chance, **_CHANCE)
        axis.set_title(f"{evaluation.benchmark} ({evaluation.class_count} classes)")
        axis.set_xticks(range(places), list(shown_results))
        axis.grid(axis="y")
    for number, axis in enumerate(axes):
        if number % columns == 0:
            axis.set_ylabel("mIoU, %")
        if number >= len(evaluations):
            axis.set_axis_off()
    handles: list[Artist] = [
        Patch(color=color, label=_GROUPS[seen][0])
        for metric, (seen, color) in groups.items()
        if metric in shown
    ]
    if any("chance" in evaluation.results for evaluation in evaluations):
        handles.append(Line2D([], [], label="chance", **_CHANCE))
    _legend(figure, handles, len(handles))
    return figure


@styled
def confusion_figure(
    confusion: NDArray[np.int64], classes: Sequence[ClassResult], benchmark: str
) -> Figure:
    """Bars of the classes that are most often taken for one other class.

    Args:
        confusion: (K + 1, K + 1) pixel counts, row = prediction, column = ground truth.
        classes: the K classes.
        benchmark: for the title.

    Raises:
        InputError: another number of classes.
    """
    if len(confusion) != len(classes) + 1:
        raise InputError(
            f"the confusion matrix of {benchmark} is of {len(confusion) - 1} classes, its "
            f"per_class.csv of {len(classes)}; evaluate {benchmark} again"
        )
    counts = confusion[:-1, :-1].astype(np.float64)
    truth = counts.sum(axis=0)
    frequent = truth >= max(1.0, min(_SMALLEST_SHARE, 1 / len(truth)) * truth.sum())
    shares = np.where(frequent, counts / np.maximum(truth, 1), 0)
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")[:_PAIRS]
    pairs = [divmod(int(cell), len(classes)) for cell in order if shares.flat[cell] > 0]
    figure, (axis,) = new_figure(7.5, 0.29 * max(len(pairs), 3) + 1.4)
    values = [100 * shares[pair] for pair in pairs]
    bars = axis.barh(range(len(pairs)), values, color=[_color(classes[true]) for _, true in pairs])
    axis.bar_label(bars, [f"{value:.0f}" for value in values], padding=2, fontsize=9)
    names = [f"{_short(classes[true])}  →  {_short(classes[taken])}" for taken, true in pairs]
    axis.set_yticks(range(len(pairs)), names)
    axis.set_ylim(max(len(pairs), 1) - 0.4, -0.6)
    axis.set_xlim(0, 1.08 * max(values, default=100))
    axis.set_xlabel("share of the true class's pixels, %")
    axis.grid(axis="x")
    figure.suptitle(f"{benchmark}: true class  →  what it is most often taken for")
    kinds = [seen for seen in _GROUPS if any(classes[true].seen is seen for _, true in pairs)]
    if kinds != [None]:
        handles = [Patch(color=_GROUPS[s][1], label=f"true class {_GROUPS[s][0]}") for s in kinds]
        _legend(figure, handles, len(handles))
    return figure


def _named_bars(axis: Axes, classes: Sequence[ClassResult], length: int) -> None:
    values = [100 * c.iou for c in classes]
    bars = axis.barh(range(len(classes)), values, 0.75, color=[_color(c) for c in classes])
    axis.bar_label(bars, [f"{value:.0f}" for value in values], padding=2, fontsize=7)
    axis.set_yticks(range(len(classes)), [_short(c) for c in classes], fontsize=8)
    # The same height for the bars of the last, shorter column.
    axis.set_ylim(length - 0.4, -0.6)
    axis.set_xlim(0, 108)
    axis.grid(axis="x")


def _legend(figure: Figure, handles: Sequence[Artist], columns: int) -> None:
    figure.legend(handles=handles, loc="outside lower center", ncols=max(columns, 1))


def _color(result: ClassResult) -> str:
    return _GROUPS[result.seen][1]


def _short(result: ClassResult) -> str:
    """The first of a list of synonyms, as a picture has room for."""
    name = result.name.split(",")[0].strip()
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
