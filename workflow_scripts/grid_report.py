"""Draw the figure of one grid, and write its tables: means and standard errors over the seeds."""

import argparse
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.reporting.figures.grid_figures import grid_figure
from scan_core.reporting.figures.plotting import save_figure
from scan_core.reporting.tables.grids import load_grid
from scan_core.reporting.tables.tables import write_grid


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--grid", type=Path, required=True, metavar="FILE", help="CSV of the grid")
    result.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="STEM",
        help="path without suffix, for .png, .pdf, .svg, .md and .tex",
    )
    return result


def main(arguments: argparse.Namespace) -> None:
    """Read, draw, write."""
    grid, output = load_grid(arguments.grid), arguments.output
    save_figure(grid_figure(grid), output.parent, output.name)
    write_grid(grid, output.parent, output.name)


if __name__ == "__main__":
    run(parser(), main)
