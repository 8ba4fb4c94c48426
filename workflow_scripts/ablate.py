"""Write the table of a grid from the evaluations of its cells."""

from pathlib import Path

from scan_core.params.command_line import run


def ablate(grid: str, plan: Path, output: Path) -> None:
    """Write the table of a grid from the evaluations of its cells.

    Args:
        grid: its name.
        plan: JSON file with the rows of the grid, each with the file and the key of its numbers.
        output: CSV to write.
    """
    from scan_core.params.frozen_recipe import load_frozen
    from scan_core.reporting.grids import grid_csv
    from scan_core.storage.files import write_text

    rows, _ = load_frozen(plan)
    write_text(output, grid_csv(grid, rows))


if __name__ == "__main__":
    run(ablate)
