"""Captions of training images, as COCO lists them."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from scan_core.datasets.loading import BenchmarkImages
from scan_core.datasets.pairing import image_key
from scan_core.errors import InputError
from scan_core.params.needed_files import CLASS_NAMES
from scan_core.storage.files import read_json


def training_captions(source: str, images: BenchmarkImages) -> dict[str, list[str]]:
    """Captions of the training images: key of an image -> its captions.

    Args:
        source: the path of a file, see `load_captions`, or `classes`: the names of the classes in
            each image's label map, as a caption of one name a line. Images without a label have
            none.
        images: of the training benchmark.

    Raises:
        InputError: a file that is unreadable, not of COCO's layout, or of other images.
    """
    if source != CLASS_NAMES:
        return load_captions(Path(source), map(images.stem, range(len(images))))
    captions = {}
    for number in range(len(images)):
        found = [int(value) for value in np.unique(images.label(number)) if value >= 0]
        if found:
            names = (images.index.names[value].strip() for value in found)
            captions[images.stem(number)] = ["".join(f"{name}\n" for name in names)]
    return captions


def load_captions(path: Path, keys: Iterable[str]) -> dict[str, list[str]]:
    """Read a COCO captions file: key of an image -> its captions, in the file's order.

    Args:
        path: such as `annotations/captions_train2017.json`. A `file_name` in it is a path below
            the folder of the split.
        keys: of the split's images; captions of others are left out.

    Raises:
        InputError: unreadable, not of that layout, or without a caption of these images.
    """
    record = read_json(path, "get the file again")
    try:
        key_of = {image["id"]: image_key(image["file_name"]) for image in record["images"]}
        captions: dict[str, list[str]] = defaultdict(list)
        for annotation in record["annotations"]:
            captions[key_of[annotation["image_id"]]].append(annotation["caption"].strip())
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"captions {path} are not in COCO's layout ({type(error).__name__}: {error}); get the "
            "file again"
        ) from None
    known = set(keys)
    own = {key: texts for key, texts in captions.items() if key in known}
    if not own:
        raise InputError(
            f"captions {path} are of none of the {len(known)} training images: the images are "
            f"{', '.join(sorted(known)[:2])}, …, the captions are of "
            f"{', '.join(list(captions)[:2]) or 'nothing'}, …. In 'images', 'file_name' must be "
            "the path of an image below the folder of its split"
        )
    if strangers := captions.keys() - known:
        logging.info("captions of %d other images, such as %s", len(strangers), min(strangers))
    return own
