"""Write one HTML page of all tables, figures and images of a recipe."""

from scan_core.params.command_line import run
from scan_core.reporting.report import report_page

if __name__ == "__main__":
    run(report_page)
