"""Draw panels of a benchmark: image, ground truth, and the predictions of every classifier."""

from pathlib import Path

from scan_core.params.command_line import run


def qualitative(index: Path, classes: str, predictions: Path, output: Path) -> None:
    """Draw panels of a benchmark: image, ground truth, and the predictions of every classifier.

    The images are those of median, best, upper and lower quartile, and worst mIoU.

    Args:
        index: index.json of the benchmark.
        classes: its class list, or a .json file.
        predictions: folder of the maps, CLASSIFIER/IMAGE.png.
        output: PNG to write.
    """
    from scan_core.datasets.loading import BenchmarkImages
    from scan_core.reporting.draw import draw_panels
    from scan_core.vocabulary.classes import load_class_list

    draw_panels(BenchmarkImages(index, "val"), load_class_list(classes), predictions, output)


if __name__ == "__main__":
    run(qualitative)
