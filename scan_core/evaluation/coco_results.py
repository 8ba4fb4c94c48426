"""Class maps in COCO's format of results: a run-length encoded mask for each class."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask


def coco_results(
    file_name: str,
    class_map: NDArray[np.integer[Any]],
    names: Sequence[str],
    scores: Mapping[int, float] | None = None,
) -> list[dict[str, Any]]:
    """The classes of one image, the largest first, as `pycocotools` reads them.

    Args:
        file_name: of the image; its stem is the `image_id`, as a number where it is one.
        class_map: (H, W), an index of `names` for every pixel; negative: none.
        names: of the classes.
        scores: of the classes that are there; None: the results have no `score`.
    """
    stem = PurePath(file_name).stem
    ids, areas = np.unique(class_map[class_map >= 0], return_counts=True)
    results = []
    for position in np.argsort(-areas, kind="stable"):
        class_id = int(ids[position])
        result: dict[str, Any] = {
            "image_id": int(stem) if stem.isdecimal() else stem,
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
