"""Write the table of a grid from the evaluations of its cells."""

from scan_core.params.command_line import run
from scan_core.reporting.grids import ablate

if __name__ == "__main__":
    run(ablate)
