"""Class maps in COCO's format of results: a run-length encoded mask for each class."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask


def image_ids(stems: Sequence[str]) -> dict[str, int | str]:
    """The `image_id` of each image of a set: its name as a number, as COCO's are.

    Where that would be the same for two of them, such as 1 and 001, all keep their names.
    """
    numbers = [int(stem) for stem in stems if stem.isdecimal()]
    if len(set(numbers)) < len(numbers):
        return {stem: stem for stem in stems}
    return {stem: int(stem) if stem.isdecimal() else stem for stem in stems}


def coco_results(
    file_name: str,
    class_map: NDArray[np.integer[Any]],
    names: Sequence[str],
    scores: Mapping[int, float] | None = None,
    image_id: int | str | None = None,
) -> list[dict[str, Any]]:
    """The classes of one image, the largest first, as `pycocotools` reads them.

    Args:
        file_name: of the image.
        class_map: (H, W), an index of `names` for every pixel; negative: none.
        names: of the classes.
        scores: of the classes that are there; None: the results have no `score`.
        image_id: see `image_ids`; None: the file's stem, as a number where it is one.
    """
    if image_id is None:
        (image_id,) = image_ids([PurePath(file_name).stem]).values()
    ids, areas = np.unique(class_map[class_map >= 0], return_counts=True)
    results = []
    for position in np.argsort(-areas, kind="stable"):
        class_id = int(ids[position])
        result: dict[str, Any] = {
            "image_id": image_id,
            "file_name": file_name,
            "category_id": class_id,
            "category": names[class_id],
            "area": int(areas[position]),
            "segmentation": encode_mask(class_map == class_id),
        }
        if scores is not None:
            result["score"] = round(scores[class_id], 4)
        results.append(result)
    return results


def encode_mask(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask (H, W) as COCO's compressed run lengths: `size` and `counts`, for JSON."""
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    size = [int(side) for side in encoded["size"]]
    return {"size": size, "counts": encoded["counts"].decode("ascii")}
