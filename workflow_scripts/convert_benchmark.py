"""Convert raw data into a benchmark: label maps of training ids, and an index of its images."""

import logging
from pathlib import Path

from scan_core.params.command_line import run


def convert_benchmark(
    format: str,
    raw_root: Path,
    classes: str,
    name: str,
    splits: list[str],
    output: Path,
    image_suffix: str | None = None,
    label_suffix: str = ".png",
    captions: Path | None = None,
    released_label_reduction: bool = False,
    workers: int = 1,
) -> None:
    """Convert raw data into a benchmark: label maps of training ids, and an index of its images.

    Args:
        format: raw layout.
        raw_root: root of the raw data.
        classes: class list: a built-in name, or the path of a .json file.
        name: of the benchmark.
        splits: train, val, or val=NAME where the raw data calls the split NAME.
        output: folder of the benchmark.
        image_suffix: for the format `folder`, what follows an image's name.
        label_suffix: for the format `folder`, what follows a label's name.
        captions: file of captions that must fit the images of `train`.
        released_label_reduction: reduce label maps by the release's nearest-neighbour rule.
        workers: threads.
    """
    from scan_core.datasets.captions import load_captions
    from scan_core.datasets.conversion import Conversion
    from scan_core.datasets.formats import FORMATS, folder_format
    from scan_core.errors import InputError
    from scan_core.vocabulary.classes import load_class_list

    names = {split: own or split for split, _, own in (text.partition("=") for text in splits)}
    if format not in FORMATS or names.keys() - {"train", "val"}:
        raise InputError(
            f"--format {format} --splits {' '.join(splits)}: expected a format of "
            f"{', '.join(FORMATS)}, and train, val, train=NAME or val=NAME"
        )
    raw_format = FORMATS[format]
    if format == "folder":
        raw_format = folder_format(image_suffix, label_suffix)
    class_list = load_class_list(classes)
    conversion = Conversion(raw_format, class_list, workers, released_label_reduction)
    index = conversion.convert(raw_root, output, names, name)
    if captions is not None:
        load_captions(captions, (sample.stem for sample in index.splits["train"].samples))
    images = {split: len(converted.samples) for split, converted in index.splits.items()}
    logging.info("%s: %d classes, images: %s", name, len(class_list), images)


if __name__ == "__main__":
    run(convert_benchmark)
