"""Tables and figures of ablation grids: means and standard errors over their seeds."""

import argparse
import logging
from pathlib import Path

from scan_core.command_line import run
from scan_core.reporting.figures import draw_figures
from scan_core.reporting.grids import load_grid
from scan_core.reporting.tables import write_grid_tables


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument(
        "--ablation", nargs="+", type=Path, required=True, metavar="FILE", help="CSV of each grid"
    )
    result.add_argument("--tables", type=Path, required=True, metavar="DIR", help="to write to")
    result.add_argument("--figures", type=Path, required=True, metavar="DIR", help="to write to")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Read, write, draw."""
    write_grid_tables([load_grid(path) for path in arguments.ablation], arguments.tables)
    draw_figures([], [], [], arguments.ablation, {}, arguments.figures)
    logging.info("tables and figures of %d grids", len(arguments.ablation))


if __name__ == "__main__":
    run(parser(), main)
