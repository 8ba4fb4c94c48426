"""Figures of training curves, and their numbers."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scan_core.reporting.figures.plotting import PALETTE, new_figure, styled
from scan_core.reporting.names import metric_name
from scan_core.reporting.tables.table_text import Table

# Kind of quantity, by how its name begins -> label of its axis.
_AXES = {"loss": "loss", "validation": "validation, %", "learning_rate": "learning rate"}
_TITLES = {"clip": "CLIP", "clip_finetune": "CLIP, fine-tuned on masked crops"}
_MANY = 200  # points; above, a curve is drawn as a running mean over its noise
_WINDOW = 50  # parts of a curve that the running mean resolves


@styled
def training_figure(curves: dict[str, dict[int, float]], name: str) -> Figure:
    """Losses, validation (in %) and learning rate over the steps, as far as they were measured.

    Args:
        curves: quantity -> step -> value; other quantities are left out.
        name: of the training, for the title.
    """
    kinds = {
        prefix: {q: points for q, points in curves.items() if q.startswith(prefix)}
        for prefix in _AXES
    }
    drawn = {prefix: quantities for prefix, quantities in kinds.items() if quantities}
    figure, axes = new_figure(4.6 * max(len(drawn), 1), 3.9, 1, max(len(drawn), 1))
    last_step = max((step for points in curves.values() for step in points), default=0)
    for axis, (prefix, quantities) in zip(axes, drawn.items(), strict=False):
        for number, (quantity, points) in enumerate(quantities.items()):
            scale = 100 if prefix == "validation" else 1
            scaled = {step: scale * value for step, value in points.items()}
            _curve(axis, scaled, _label(quantity), PALETTE[number % len(PALETTE)])
        axis.set(xlabel="step", ylabel=_AXES[prefix])
        # With room for a marker at either end, and above.
        axis.set_xlim(-0.02 * last_step, 1.02 * last_step)
        axis.grid()
        if prefix == "learning_rate":
            axis.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        else:
            axis.legend()
        if prefix != "learning_rate":
            low, high = axis.get_ylim()
            axis.set_ylim(min(0, low), high + 0.04 * (high - min(0, low)))
    figure.suptitle(f"Training: {_TITLES.get(name, name)}")
    return figure


def curve_values(curves: dict[str, dict[int, float]]) -> Table:
    """A row for each step, a column for each quantity; empty where it was not measured.

    Args:
        curves: quantity -> step -> value.
    """
    steps = sorted({step for points in curves.values() for step in points})
    return Table(
        title="Training",
        header=("step", *curves),
        rows=tuple(
            (str(step), *(f"{p[step]:.6g}" if step in p else "" for p in curves.values()))
            for step in steps
        ),
        text_columns=0,
    )


def _label(quantity: str) -> str:
    """`loss_mask` -> `mask`, `validation_miou` -> `mIoU`; a name without a second part stays."""
    kind, _, rest = quantity.partition("_")
    return metric_name(rest).replace("_", " ") if kind in _AXES and rest else quantity


def _curve(axis: Axes, points: dict[int, float], label: str, color: str) -> None:
    steps = np.array(sorted(points), dtype=np.float64)
    values = np.array([points[int(step)] for step in steps])
    if len(steps) <= _MANY:
        axis.plot(steps, values, color=color, label=label, marker="o" if len(steps) < 12 else "")
        return
    axis.plot(steps, values, color=color, alpha=0.2, linewidth=0.8)
    axis.plot(steps, _running_mean(values), color=color, label=label)


def _running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) means over windows that are cut short at the ends."""
    window = np.ones(max(1, len(values) // _WINDOW))
    total = np.convolve(values, window, mode="same")
    mean: NDArray[np.float64] = total / np.convolve(np.ones(len(values)), window, mode="same")
    return mean
