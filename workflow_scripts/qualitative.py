"""Draw panels of a benchmark: image, ground truth, and the predictions of every classifier."""

from scan_core.params.command_line import run
from scan_core.reporting.draw import qualitative

if __name__ == "__main__":
    run(qualitative)
