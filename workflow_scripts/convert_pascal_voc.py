"""Convert PASCAL VOC 2012 with the augmented labels, as palette or grey PNGs."""

from scan_core.datasets.conversion_command import run_converter

if __name__ == "__main__":
    run_converter("pascal_voc", __doc__)
