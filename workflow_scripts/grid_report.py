"""Draw the figure of one grid, and write its tables: means and standard errors over the seeds."""

from pathlib import Path

from scan_core.params.command_line import run


def grid_report(grid: Path, output: Path) -> None:
    """Draw the figure of one grid, and write its tables: means and standard errors over the seeds.

    Args:
        grid: its CSV.
        output: path without suffix, for .png, .pdf, .svg, .md, .tex and .html.
    """
    from scan_core.reporting.figures import save_figure
    from scan_core.reporting.grids import grid_figure, grid_tables, load_grid
    from scan_core.reporting.tables import write_tables

    found = load_grid(grid)
    save_figure(grid_figure(found), output.parent, output.name)
    write_tables(grid_tables(found), output.parent, output.name)


if __name__ == "__main__":
    run(grid_report)
