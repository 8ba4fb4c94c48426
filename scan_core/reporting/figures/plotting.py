"""How every figure looks and is written: colours, sizes, PNG beside PDF and SVG."""

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from scan_core.storage.atomic import atomic_path

# Okabe and Ito's colours, which people with any colour vision tell apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
SEEN, UNSEEN, ALL = PALETTE[0], PALETTE[4], "#8C8C8C"

_DPI = 150

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
    """An empty figure, drawn by Agg, which needs no display.

    Args:
        width: inches.
        height: inches.
        rows: of axes.
        columns: of axes.
        share_y: one scale for all axes.

    Returns:
        the figure and its axes, row by row.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    return figure, list(axes.flatten())


@styled
def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write `<name>.png`, `<name>.pdf` and `<name>.svg`, each atomically.

    Args:
        figure: drawn.
        folder: made if it is missing.
        name: without suffix.
    """
    with atomic_path(folder / f"{name}.png") as temporary:
        figure.savefig(temporary, dpi=_DPI)
    figure.set_layout_engine("none")  # it is laid out; to do so again takes as long as to draw
    for suffix, date in (("pdf", "CreationDate"), ("svg", "Date")):
        with atomic_path(folder / f"{name}.{suffix}") as temporary:
            figure.savefig(temporary, format=suffix, metadata={date: None})
