"""The model behind MLflow's interface `pyfunc`, which asks for `_load_pyfunc`; without MLflow."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scan_core.errors import InputError
from scan_core.inference.scan import Scan


class PyfuncScan:
    """Segments rows of images and class names.

    Args:
        scan: the model.
    """

    def __init__(self, scan: Scan) -> None:
        self.scan = scan

    def predict(
        self, model_input: Any, params: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Segment every row.

        Args:
            model_input: a DataFrame or a list of mappings with `image` (a file, or an array
                (H, W, 3) of uint8, RGB) and `class_names` (a list), or one such mapping.
            params: not used.

        Returns:
            for every row `class_map`, (H, W) int32, an index of the row's class names for every
            pixel; `areas`, class name -> share of the pixels; `class_names`.

        Raises:
            InputError: a row without these keys, or an unreadable image.
        """
        return [self._segment(row) for row in _rows(model_input)]

    def _segment(self, row: Mapping[str, Any]) -> dict[str, Any]:
        if missing := {"image", "class_names"} - row.keys():
            raise InputError(
                f"the model's input lacks '{min(missing)}'; expected rows with 'image' and "
                "'class_names'"
            )
        image, names = row["image"], [str(name) for name in row["class_names"]]
        if not isinstance(image, str | Path):
            image = np.asarray(image, dtype=np.uint8)  # lists, where it came through JSON
        class_map = self.scan.segment(image, names).class_map
        counts = np.bincount(class_map.ravel(), minlength=len(names)) / class_map.size
        areas = {name: float(share) for name, share in zip(names, counts, strict=True)}
        return {"class_map": class_map, "areas": areas, "class_names": names}


def _rows(model_input: Any) -> Iterator[Mapping[str, Any]]:
    if hasattr(model_input, "to_dict"):
        yield from model_input.to_dict(orient="records")
    elif isinstance(model_input, Mapping):
        yield model_input
    else:
        yield from model_input


def _load_pyfunc(path: str) -> PyfuncScan:
    """Called by MLflow with the checkpoint that was logged."""
    return PyfuncScan(Scan.from_checkpoint(path))
