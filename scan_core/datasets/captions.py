"""Captions of training images, as COCO lists them."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.params.needed_files import CLASS_NAMES


def training_captions(source: str, images: BenchmarkImages) -> dict[str, list[str]]:
    """Captions of the training images.

    Args:
        source: `classes`, or the path of a file, see `load_captions`.
        images: of the training benchmark.

    Returns:
        stem of an image -> its captions.

    Raises:
        InputError: a file that is unreadable, or not of COCO's layout.
    """
    return captions_of_classes(images) if source == CLASS_NAMES else load_captions(Path(source))


def captions_digest(captions: Mapping[str, Sequence[str]]) -> str:
    """A hash of what is said of all images."""
    return hashlib.sha256(json.dumps(captions, sort_keys=True).encode()).hexdigest()


def captions_of_classes(images: BenchmarkImages) -> dict[str, list[str]]:
    """The names of the classes in each image's label map, as a caption of one name a line.

    Args:
        images: of the training benchmark.

    Returns:
        stem of an image -> one caption; images without a label have none.
    """
    captions = {}
    for number in range(len(images)):
        found = [int(value) for value in np.unique(images.label(number)) if value >= 0]
        if found:
            names = (images.index.names[value].strip() for value in found)
            captions[images.stem(number)] = ["".join(f"{name}\n" for name in names)]
    return captions


def load_captions(path: Path) -> dict[str, list[str]]:
    """Read a COCO captions file.

    Args:
        path: such as `annotations/captions_train2017.json`.

    Returns:
        stem of the image's file -> its captions, in the file's order.

    Raises:
        InputError: unreadable, or not of that layout.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        stems = {image["id"]: Path(image["file_name"]).stem for image in record["images"]}
        captions: dict[str, list[str]] = defaultdict(list)
        for annotation in record["annotations"]:
            captions[stems[annotation["image_id"]]].append(annotation["caption"].strip())
    except OSError as error:
        raise InputError(f"captions {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"captions {path} are not in COCO's layout ({type(error).__name__}: {error}); get the "
            "file again"
        ) from None
    return dict(captions)
