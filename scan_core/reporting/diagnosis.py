"""Why the numbers are what they are: cuts of the counts, the ladder, and calibration."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from scan_core.errors import InputError
from scan_core.params.classifiers import CLASSIFIERS
from scan_core.reporting.figures import PALETTE, new_figure, styled
from scan_core.reporting.results import spread
from scan_core.reporting.tables import (
    MISSING,
    Table,
    percent,
    rounded,
    with_interval,
    with_intervals,
)
from scan_core.storage.files import read_json

_GROUPS = {"miou": "all classes", "miou_seen": "seen", "miou_unseen": "unseen"}
_GAINS = (PALETTE[4], PALETTE[2], PALETTE[5], PALETTE[3])
_SHORT = {
    "as_it_is": "as it is",
    "better_classifier": "better of two\nclassifiers",
    "present_classes": "only classes\nof the image",
    "right_classes": "right class for\nevery proposal",
    "true_masks.combined": "true masks,\nboth classifiers",
    "true_masks.in_vocabulary": "true masks,\nin-vocabulary",
    "true_masks.clip_only": "true masks,\nCLIP",
    "true_masks.original_clip": "true masks,\nCLIP before\nfine-tuning",
}
_KINDS = {"proposals": "proposals that match a segment", "pixels": "pixels"}
_COLORS = dict(zip(("in_vocabulary", "clip_only", "combined"), PALETTE, strict=False))

# Cut and part -> what people read.
_CUTS = {
    "class": "kind of class",
    "size": "size of the segment",
    "distance": "distance from a boundary",
    "confusion": "confused with",
}
_PARTS = {
    "stuff": "stuff",
    "things": "things",
    "small": "small, below 0.3 % of the image",
    "medium": "medium",
    "large": "large, from 3 % on",
    "near": "near, up to 0.5 % of the diagonal",
    "middle": "middle",
    "far": "far, above 2 %",
    "synonym": "a synonym",
    "parent": "a broader class",
    "child": "a narrower class",
    "unseen_as_seen": "a seen class instead of an unseen one",
    "seen_as_unseen": "an unseen class instead of a seen one",
    "other": "any other class",
}
_CUT_METRICS = {"lost": "lost", "pacc": "pAcc", "miou": "mIoU"}


def load_cuts(paths: Iterable[Path]) -> pd.DataFrame:
    """The cuts of `metrics.json` files: a row for each part, as fractions.

    Returns:
        columns benchmark, recipe, cut, part, share, and the metrics with their `_low` and `_high`.
    """
    rows = []
    for path in paths:
        record = read_json(path, "evaluate again")
        about = {key: record[key] for key in ("benchmark", "recipe")}
        for part in record["cuts"]:
            row = about | {key: part[key] for key in ("cut", "part", "share")}
            row |= {metric: part["metrics"].get(metric) for metric in _CUT_METRICS}
            rows.append(row | spread(_CUT_METRICS, part["intervals"], {}))
    return pd.DataFrame(rows)


def cut_table(cuts: pd.DataFrame) -> Table:
    """A row for each part; with several benchmarks or models, which of them."""
    about = {"benchmark": cuts["benchmark"], "model": cuts["recipe"]}
    cells = pd.DataFrame(
        {
            **{name: column for name, column in about.items() if column.nunique() > 1},
            "cut": cuts["cut"].map(_CUTS),
            "pixels": cuts["part"].map(_PARTS),
            "share": (100 * cuts["share"].astype(float)).map(rounded, decimals=1),
            **{name: with_intervals(cuts, metric) for metric, name in _CUT_METRICS.items()},
        }
    )
    return Table(
        "Which pixels are wrong",
        cells,
        words=cells.shape[1] - 4,
        note="In %, with 95 % intervals over the images. Share: of the pixels with ground truth. "
        "Lost: the pixels of this part that are wrong, of all; the parts of a cut add up to what "
        "is missing to a pixel accuracy of 100 %. pAcc and mIoU: of these pixels; mIoU of stuff "
        "and things: of these classes.",
    )


@styled
def cut_figure(cuts: pd.DataFrame, benchmark: str) -> Figure:
    """A bar for each part, as long as it loses pixels; the bars of a cut add up to one number."""
    of = cuts[(cuts["benchmark"] == benchmark) & (cuts["recipe"] == cuts["recipe"].iloc[0])]
    names = list(of["cut"].unique())
    places = np.arange(len(of)) + 1.2 * of["cut"].map(names.index).to_numpy()
    lost, low, high = (100 * of[f"lost{end}"].astype(float) for end in ("", "_low", "_high"))
    figure, (axis,) = new_figure(7.5, 0.27 * (places[-1] + 2) + 0.9)
    axis.barh(places, lost, 0.75, color=[PALETTE[names.index(cut)] for cut in of["cut"]])
    axis.hlines(places, low, high, color="black", linewidth=1)
    for place, value, end in zip(places, lost, np.maximum(lost, high), strict=True):
        axis.text(end, place, f" {rounded(value, 1)}", ha="left", va="center", fontsize=9)
    for cut in names:
        words = f"{_CUTS[cut]}: {lost[of['cut'] == cut].sum():.1f} in all"
        first = places[(of["cut"] == cut).to_numpy()][0]
        axis.text(0, first - 0.55, words, va="bottom", fontsize=9, fontweight="bold")
    axis.set_yticks(places, of["part"].map(_PARTS), fontsize=9)
    axis.set(ylim=(places[-1] + 0.6, -1.6), xlabel="wrong pixels, % of those with ground truth")
    axis.grid(axis="x")
    figure.suptitle(f"{benchmark}: which pixels are wrong")
    return figure


def load_diagnosis(path: Path) -> dict[str, Any]:
    """Read a `diagnosis.json`.

    Raises:
        InputError: damaged, or of another kind.
    """
    record: dict[str, Any] = read_json(path, "diagnose again")
    if missing := {"benchmark", "ladder", "steps", "calibration"} - record.keys():
        raise InputError(f"{path} is no diagnosis: it has no '{min(missing)}'; diagnose again")
    return record


@styled
def ladder_figure(record: Mapping[str, Any]) -> Figure:
    """A bar for each rung; on the right, with true masks. An axis for all, seen, unseen classes."""
    metrics = [m for m in _GROUPS if record["ladder"][0]["metrics"][m] is not None]
    rungs = [rung for rung in record["ladder"] if not rung["rung"].startswith("true_masks")]
    masks = [rung for rung in record["ladder"] if rung["rung"].startswith("true_masks")]
    figure, axes = new_figure(9.5, 2.3 * len(metrics) + 0.9, len(metrics), 1)
    places = [*range(len(rungs)), *(len(rungs) + 1.4 + n for n in range(len(masks)))]
    for axis, metric in zip(axes, metrics, strict=True):
        before = 0.0
        for number, (place, rung) in enumerate(zip(places, rungs + masks, strict=True)):
            value = 100 * (rung["metrics"][metric] or 0)
            alone = number == 0 or number >= len(rungs)
            base = 0.0 if alone else before
            axis.bar(place, base, 0.62, color="#DDDDDD")
            color = PALETTE[0] if alone else _GAINS[number - 1]
            axis.bar(place, value - base, 0.62, base, color=color)
            low, high = (100 * x for x in rung["intervals"][metric] or (np.nan, np.nan))
            axis.plot([place, place], [low, high], color="black", linewidth=1)
            gain = "" if alone else f"\n{value - base:+.1f}".replace("-", "−")
            top = max(value, np.nan_to_num(high))
            axis.text(place, top + 1.5, f"{value:.1f}{gain}", ha="center", va="bottom", fontsize=9)
            before = before if number >= len(rungs) else value
        last = len(rungs)
        axis.bar(last, before, 0.62, color="#DDDDDD")
        axis.bar(last, 100 - before, 0.62, before, color=_GAINS[3])
        axis.text(last, 101.5, f"100\n{100 - before:+.1f}", ha="center", va="bottom", fontsize=9)
        labels = [_SHORT[rung["rung"]] for rung in rungs + masks]
        ticks = [*places[: len(rungs)], last, *places[len(rungs) :]]
        axis.set_xticks(ticks, [*labels[: len(rungs)], "right class,\ntrue masks", *labels[last:]])
        axis.tick_params("x", labelsize=7.5)
        axis.set(ylim=(0, 128), yticks=range(0, 101, 25), ylabel=f"mIoU, %\n{_GROUPS[metric]}")
        axis.axvline(last + 0.7, color="#999999", linewidth=0.8, linestyle=":")
        axis.grid(axis="y")
    figure.suptitle(f"{record['benchmark']}: where the points are lost")
    return figure


@styled
def calibration_figure(record: Mapping[str, Any]) -> Figure:
    """Reliability diagrams: a row for each kind, a column for all, seen and unseen classes."""
    kinds = next(iter(record["calibration"].values()))
    groups = list(next(iter(kinds.values())))
    size = (3.1 * len(groups) + 0.6, 3.1 * len(kinds) + 0.8)
    figure, axes = new_figure(*size, len(kinds), len(groups))
    cells = [(kind, group) for kind in kinds for group in groups]
    for axis, (kind, group) in zip(axes, cells, strict=True):
        axis.plot([0, 1], [0, 1], color="#666666", linewidth=1, linestyle="--")
        for name, color in _COLORS.items():
            found = record["calibration"][name][kind][group]
            if found["error"] is None:
                continue
            bins = pd.DataFrame(found["bins"])
            label = f"{CLASSIFIERS[name]}: ECE {100 * found['error']:.1f} %"
            axis.plot(bins["confidence"], bins["accuracy"], color=color, linewidth=1)
            axis.scatter(
                bins["confidence"], bins["accuracy"], 4 + 150 * bins["share"],
                color=color, alpha=0.75, label=label, edgecolor="white", linewidth=0.5,
            )  # fmt: skip
        classes = "all classes" if group == "all" else f"{group} classes"
        axis.set_title(f"{_KINDS[kind]},\n{classes}", fontsize=9)
        axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.27), xlabel="confidence", ylabel="accuracy")
        axis.set(yticks=np.linspace(0, 1, 6), aspect="equal")
        axis.grid()
        if not axis.collections:
            axis.text(0.5, 0.6, "there are none", ha="center")
        else:
            legend = axis.legend(fontsize=6.5, loc="upper left", handletextpad=0.2)
            for handle in legend.legend_handles:
                if isinstance(handle, PathCollection):
                    handle.set_sizes([18])
    figure.suptitle(f"{record['benchmark']}: is the model\nright as often as it is sure?")
    return figure


def tuned_table(record: Mapping[str, Any]) -> Table:
    """Temperature and weight that are best on the training images, by mIoU and by calibration."""
    found = pd.DataFrame(record["tuned"])
    about = found[["name", "logit_scale", "clip_weight"]].rename(columns={"name": "settings"})
    numbers = percent(found[["miou", "error"]]).set_axis(["mIoU", "ECE"], axis="columns")
    return Table(
        "Calibrated on the training images",
        about.astype(str).join(numbers),
        words=1,
        note=f"Temperature and weight that are best on {found['images'][0]} images of the train "
        "split. In %; ECE of the pixels. `logit_scale` is the inverse temperature of both "
        "classifiers, `clip_weight` CLIP's share in their combination.",
    )


def ladder_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each rung, a column for each benchmark: mIoU with its interval."""
    columns = {
        record["benchmark"]: {
            rung["name"]: with_interval(rung["metrics"]["miou"], rung["intervals"]["miou"])
            for rung in record["ladder"]
        }
        for record in records
    }
    table = pd.DataFrame(columns).fillna(MISSING).rename_axis("with the truth in place of a part")
    images = ", ".join(f"{record['benchmark']} {record['images']}" for record in records)
    return Table(
        "Where the points are lost",
        table.reset_index(),
        words=1,
        note=f"mIoU in %, with its 95 % interval over the images. Images: {images}.",
    )
