"""Convert the ADE20K scene-parsing challenge: id - 1, 0 is ignored."""

from scan_core.datasets.conversion_command import run_converter

if __name__ == "__main__":
    run_converter("ade20k_150", __doc__)
