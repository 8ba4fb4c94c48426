"""Captions of training images, as COCO lists them."""

import json
from collections import defaultdict
from pathlib import Path

from scan_core.errors import InputError


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
