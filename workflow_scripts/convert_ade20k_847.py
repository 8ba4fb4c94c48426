"""Convert ADE20K 2021_17_01: RGB-coded classes, images at most 512 on the short side."""

from scan_core.datasets.conversion_command import run_converter

if __name__ == "__main__":
    run_converter("ade20k_847", __doc__)
