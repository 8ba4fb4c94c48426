"""Convert COCO-Stuff pixel maps: the 171 classes of the class list, everything else ignored."""

from scan_core.datasets.conversion_command import run_converter

if __name__ == "__main__":
    run_converter("coco_stuff", __doc__)
