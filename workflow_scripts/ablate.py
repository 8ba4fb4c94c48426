"""Write the table of a grid from the evaluations of its cells."""

import argparse
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.params.frozen_recipe import load_frozen
from scan_core.reporting.tables.grid_table import grid_table
from scan_core.storage.atomic import write_text


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--grid", required=True, help="its name")
    result.add_argument(
        "--plan", type=Path, required=True, help="JSON file: where the numbers of each row are"
    )
    result.add_argument("--output", type=Path, required=True, help="CSV to write")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Write the table."""
    rows, _ = load_frozen(arguments.plan)
    write_text(arguments.output, grid_table(arguments.grid, rows))
    logging.info("%s: %d rows", arguments.output, len(rows))


if __name__ == "__main__":
    run(parser(), main)
