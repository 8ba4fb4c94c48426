"""Convert PASCAL Context from its .mat files, for 59 or 459 classes."""

from scan_core.datasets.conversion_command import run_converter

if __name__ == "__main__":
    run_converter("pascal_context", __doc__)
