"""What a shard's evaluation has counted so far: a kill costs half a minute of work at the most."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scan_core.errors import InputError
from scan_core.evaluation.confusion import ConfusionMatrix
from scan_core.storage.arrays import load_arrays
from scan_core.storage.atomic import atomic_path

SAVE_SECONDS = 30.0
_ABOUT = "about"

_log = logging.getLogger(__name__)


@dataclass
class UnfinishedShard:
    """A file of counts after some of the images.

    Args:
        path: of the file, in a folder of what is evaluated: model, benchmark, shard, code.

    Attributes:
        done: images that are counted.
        seconds: that they took.
        results: predictions so far in COCO's format, by name.
    """

    path: Path
    done: int = 0
    seconds: float = 0.0
    results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    saved_at: float = field(default_factory=time.monotonic)

    @property
    def exists(self) -> bool:
        """Whether something is counted already."""
        return self.path.is_file()

    def restore(self, matrices: Mapping[str, ConfusionMatrix], names: Sequence[str]) -> None:
        """Put the counts back. Those of other labels, or damaged ones, are left out.

        Args:
            matrices: of nothing yet, by label.
            names: of the kept predictions.
        """
        try:
            arrays = load_arrays(self.path, "it is counted again")
            about = json.loads(arrays[_ABOUT].tobytes())
            counts = {label: arrays[label] for label in about["labels"]}
            done, seconds, results = about["done"], about["seconds"], about["results"]
        except (InputError, ValueError, KeyError, TypeError):
            return
        if set(counts) != set(matrices) or sorted(results) != sorted(names):
            return
        for label, of_label in counts.items():
            matrices[label].restore(of_label)
        self.done, self.seconds, self.results = done, seconds, results
        _log.info("continuing after %d images", self.done)

    def save(
        self,
        done: int,
        seconds: float,
        matrices: Mapping[str, ConfusionMatrix],
        results: Mapping[str, list[dict[str, Any]]],
    ) -> None:
        """Keep the counts.

        Args:
            done: images that are counted.
            seconds: that they took.
            matrices: by label.
            results: predictions so far in COCO's format, by name.
        """
        about = json.dumps(
            {"labels": list(matrices), "done": done, "seconds": seconds, "results": results}
        )
        arrays: dict[str, Any] = {label: matrix.counts() for label, matrix in matrices.items()}
        arrays[_ABOUT] = np.frombuffer(about.encode(), np.uint8)
        with atomic_path(self.path) as temporary:
            np.savez(temporary, **arrays)
        self.saved_at = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self.saved_at > SAVE_SECONDS

    def remove(self) -> None:
        """Delete the file: the counts are kept elsewhere."""
        self.path.unlink(missing_ok=True)
