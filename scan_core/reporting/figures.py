"""Figures of results and trainings, and how every figure looks and is written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from scan_core.params.metric_names import METRICS
from scan_core.storage.files import atomic_path

# Okabe and Ito's colours, which people with any colour vision tell apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_DPI = 150
# Group of classes -> colour; the metrics of each.
_COLORS = {"all classes": "#8C8C8C", "seen": PALETTE[0], "unseen": PALETTE[4]}
_METRICS = {"miou": "all classes", "miou_seen": "seen", "miou_unseen": "unseen"}
_BARS = 45  # named bars that stand below each other
_NAMED = 180  # more classes than this are drawn without names
_LONGEST_NAME = 28  # characters
_PAIRS = 15
_CHANCE: dict[str, Any] = {"color": "black", "linewidth": 1, "linestyle": "--"}
# Classes with a smaller share of the ground truth are confused by chance.
_SMALLEST_SHARE = 0.001
# Kind of quantity, by how its name begins -> label of its axis.
_AXES = {"loss": "loss", "validation": "validation, %", "learning_rate": "learning rate"}
TRAININGS = {
    "clip": "CLIP",
    "segmenter": "Segmenter",
    "clip_finetune": "CLIP, fine-tuned on masked crops",
}
_MANY = 200  # points; above, a curve is drawn as a running mean over its noise
_WINDOW = 50  # parts of a curve that the running mean resolves

styled = matplotlib.rc_context(
    {
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": "#DDDDDD",
        "legend.frameon": False,
        "text.parse_math": False,  # a $ in a class name is a $
        # The same figure gives the same file.
        "svg.hashsalt": "scan",
        "pdf.fonttype": 42,  # letters that a journal can embed and a reader can search
    }
)


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """An empty figure of a size in inches, drawn by Agg, which needs no display, and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    return figure, list(axes.flatten())


@styled
def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write `<name>.png`, `<name>.pdf` and `<name>.svg`, each atomically."""
    with atomic_path(folder / f"{name}.png") as temporary:
        figure.savefig(temporary, dpi=_DPI)
    figure.set_layout_engine("none")  # it is laid out; to do so again takes as long as to draw
    for suffix, date in (("pdf", "CreationDate"), ("svg", "Date")):
        with atomic_path(folder / f"{name}.{suffix}") as temporary:
            figure.savefig(temporary, format=suffix, metadata={date: None})


@styled
def per_class_figure(classes: pd.DataFrame, benchmark: str, method: str = "") -> Figure:
    """Bars of every class's IoU, the best first, coloured by seen and unseen.

    Args:
        classes: see `load_per_class`; those without ground truth are left out.
        benchmark: for the title.
        method: whose predictions were given, for the title; empty: ours.
    """
    ranked = classes.dropna(subset="iou").sort_values("iou", ascending=False, kind="stable")
    named = len(ranked) <= _NAMED
    if named:
        columns = max(1, -(-len(ranked) // _BARS))
        length = -(-len(ranked) // columns)
        figure, axes = new_figure(3.6 * columns + 1, 0.19 * length + 1.6, 1, columns)
        for number, axis in enumerate(axes):
            part = ranked.iloc[number * length : (number + 1) * length]
            bars = axis.barh(range(len(part)), 100 * part["iou"], 0.75, color=_colors(part))
            axis.bar_label(bars, fmt="%.0f", padding=2, fontsize=7)
            axis.set_yticks(range(len(part)), part["name"].map(_short), fontsize=8)
            # The same height for the bars of the last, shorter column.
            axis.set(xlabel="IoU, %", xlim=(0, 108), ylim=(length - 0.4, -0.6))
            axis.grid(axis="x")
    else:
        figure, axes = new_figure(12, 4.2)
        axes[0].bar(range(len(ranked)), 100 * ranked["iou"], width=1, color=_colors(ranked))
        axes[0].set(xlabel="classes, the best first", ylabel="IoU, %", ylim=(0, 100))
        axes[0].margins(x=0.01)
        axes[0].grid(axis="y")
    narrow = named and len(axes) == 1
    absent = len(classes) - len(ranked)
    break_or_comma = "\n" if narrow else ", "
    without = f"{break_or_comma}{absent} more without ground truth" if absent else ""
    of = f"{benchmark}, {method}" if method else benchmark
    figure.suptitle(f"{of}: IoU of {len(ranked)} classes{without}")
    groups = ranked.groupby("group")["iou"].agg(["size", "mean"])
    handles = [
        Patch(color=_COLORS[group], label=f"{group}: {size:.0f} classes, mean {100 * mean:.1f}")
        for group, size, mean in groups.itertuples()
    ]
    _legend(figure, handles, 1 if narrow else len(handles))
    return figure


@styled
def seen_unseen_figure(results: pd.DataFrame) -> Figure:
    """Bars of the mIoU of all, seen and unseen classes for each classifier and external method.

    Args:
        results: see `load_evaluations`; an axis for each benchmark.
    """
    benchmarks = [of for _, of in results.groupby("benchmark", observed=True)]
    columns = min(3, len(benchmarks))
    rows = -(-len(benchmarks) // columns)
    size = (3.9 * columns + 0.6, 2.9 * rows + 0.5)
    figure, axes = new_figure(*size, rows, columns, share_y=True)
    drawn: set[str] = set()
    chances = results["classifier"] == "chance"
    for axis, of in zip(axes, benchmarks, strict=False):
        shown = of[of["classifier"] != "chance"]
        # Where the notion of seen classes does not apply, all classes stand alone.
        bars = 100 * shown[list(_METRICS)].dropna(axis="columns", how="all")
        drawn.update(map(str, bars))
        for number, metric in enumerate(bars):
            positions = np.arange(len(bars)) + (number - (bars.shape[1] - 1) / 2) * 0.27
            heights = axis.bar(positions, bars[metric], 0.25, color=_COLORS[_METRICS[str(metric)]])
            labels = bars[metric].map(lambda value: "" if np.isnan(value) else f"{value:.0f}")
            axis.bar_label(heights, list(labels), fontsize=8, padding=1)
        for chance in of.loc[chances, "miou"]:
            axis.axhline(100 * chance, **_CHANCE)
        axis.set_title(f"{of['benchmark'].iloc[0]} ({of['class_count'].iloc[0]} classes)")
        names = shown["name"].astype(str).str.replace(" ", "\n", n=1)
        axis.set_xticks(range(len(bars)), list(names.str.replace(" predictions)", ")")))
        axis.set_xlim(-0.5, len(bars) - 0.5)
        axis.grid(axis="y")
    for axis in axes[::columns]:
        axis.set_ylabel("mIoU, %")
    for axis in axes[len(benchmarks) :]:
        axis.set_axis_off()
    groups = [group for metric, group in _METRICS.items() if metric in drawn]
    handles: list[Any] = [Patch(color=_COLORS[group], label=group) for group in groups]
    if chances.any():
        handles.append(Line2D([], [], label="chance", **_CHANCE))
    _legend(figure, handles, len(handles))
    return figure


@styled
def confusion_figure(confusion: NDArray[np.int64], classes: pd.DataFrame, benchmark: str) -> Figure:
    """Bars of the classes that are most often confused with one other class.

    Args:
        confusion: (K + 1, K + 1) pixel counts, row = prediction, column = ground truth.
        classes: the K classes, see `load_per_class`.
        benchmark: for the title.
    """
    counts = confusion[:-1, :-1].astype(np.float64)
    truth = counts.sum(axis=0)
    frequent = truth >= max(1.0, min(_SMALLEST_SHARE, 1 / len(truth)) * truth.sum())
    shares = np.where(frequent, counts / np.maximum(truth, 1), 0)
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")[:_PAIRS]
    taken, true = np.divmod(order[shares.flat[order] > 0], len(classes))
    missed = classes.iloc[true]
    values = 100 * shares[taken, true]
    figure, (axis,) = new_figure(7.5, 0.29 * max(len(values), 3) + 1.4)
    bars = axis.barh(range(len(values)), values, color=_colors(missed))
    axis.bar_label(bars, fmt="%.0f", padding=2, fontsize=9)
    names = zip(missed["name"], classes["name"].iloc[taken], strict=True)
    labels = [f"{_short(one)}  →  {_short(other)}" for one, other in names]
    axis.set_yticks(range(len(values)), labels)
    axis.set(xlim=(0, 1.08 * max(values, default=100)), ylim=(max(len(values), 1) - 0.4, -0.6))
    axis.set_xlabel("share of the true class's pixels, %")
    axis.grid(axis="x")
    figure.suptitle(f"{benchmark}: true class  →  class that it is most often confused with")
    groups = [group for group in _COLORS if group in set(missed["group"])]
    if groups != ["all classes"]:
        handles = [Patch(color=_COLORS[g], label=f"true class {g}") for g in groups]
        _legend(figure, handles, len(handles))
    return figure


@styled
def training_figure(curves: pd.DataFrame, training: str) -> Figure:
    """Losses, validation (in %) and learning rate over the steps, as far as they were measured.

    Args:
        curves: see `load_curves`; other quantities are left out.
        training: its name, for the title.
    """
    kinds = {kind: [str(q) for q in curves if str(q).startswith(kind)] for kind in _AXES}
    drawn = {kind: quantities for kind, quantities in kinds.items() if quantities}
    figure, axes = new_figure(4.6 * max(len(drawn), 1), 3.9, 1, max(len(drawn), 1))
    last = curves.index.max()
    for axis, (kind, quantities) in zip(axes, drawn.items(), strict=False):
        for quantity, color in zip(quantities, PALETTE * len(quantities), strict=False):
            values = curves[quantity].dropna() * (100 if kind == "validation" else 1)
            # `loss_mask` -> `mask`, `validation_miou` -> `mIoU`; `loss` stays.
            _, _, rest = quantity.partition("_")
            name = METRICS[rest].name if rest in METRICS else rest.replace("_", " ")
            _curve(axis, values, name or quantity, color)
        # With room for a marker at either end, and above.
        axis.set(xlabel="step", ylabel=_AXES[kind], xlim=(-0.02 * last, 1.02 * last))
        axis.grid()
        if kind == "learning_rate":
            axis.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        else:
            axis.legend()
            low, high = axis.get_ylim()
            axis.set_ylim(min(0, low), high + 0.04 * (high - min(0, low)))
    figure.suptitle(f"Training: {TRAININGS.get(training, training)}")
    return figure


def _curve(axis: Axes, values: "pd.Series[float]", label: str, color: str) -> None:
    if len(values) <= _MANY:
        axis.plot(values, color=color, label=label, marker="o" if len(values) < 12 else "")
        return
    axis.plot(values, color=color, alpha=0.2, linewidth=0.8)
    window = values.rolling(max(1, len(values) // _WINDOW), center=True, min_periods=1)
    axis.plot(window.mean(), color=color, label=label)


def _legend(figure: Figure, handles: Sequence[Any], columns: int) -> None:
    figure.legend(handles=handles, loc="outside lower center", ncols=max(columns, 1))


def _colors(classes: pd.DataFrame) -> list[str]:
    return list(classes["group"].map(_COLORS))


def _short(name: str) -> str:
    """The first of a list of synonyms, as a picture has room for."""
    first = name.split(",")[0].strip()
    return first if len(first) <= _LONGEST_NAME else f"{first[: _LONGEST_NAME - 1]}…"
