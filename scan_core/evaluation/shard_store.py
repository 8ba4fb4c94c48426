"""Counts of one shard, kept for each of the settings, so that new settings are all that is new.

A grid that gets one more value, or a further grid, evaluates what is not there yet: counts belong
to the hash of their settings, not to the grid that asked for them.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scan_core.errors import InputError
from scan_core.evaluation.merging import Counts
from scan_core.evaluation.unfinished import UnfinishedShard
from scan_core.storage.arrays import load_arrays
from scan_core.storage.atomic import atomic_path

_PREDICTIONS = "predictions"


class ShardStore:
    """A folder of counts, one file for each label.

    Args:
        folder: of the shard.
        identity: what counts depend on besides the settings, such as digests of model, index and
            code, for JSON. What is there of another identity is removed.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.folder = folder / name
        if folder.is_dir():
            for other in folder.iterdir():
                if other.name != name:
                    shutil.rmtree(other)
        self.folder.mkdir(parents=True, exist_ok=True)

    def load(self, labels: Iterable[str]) -> dict[str, Counts]:
        """The counts that are there and can be read, by label."""
        found = {}
        for label in labels:
            try:
                found[label] = load_arrays(self._file(label), "it is evaluated")["counts"]
            except (InputError, KeyError):
                continue  # not there, or damaged
        return found

    def save(self, counts: Mapping[str, Counts]) -> None:
        """Keep counts, each atomically."""
        for label, of_label in counts.items():
            with atomic_path(self._file(label)) as temporary:
                np.savez_compressed(temporary, counts=of_label)

    def predictions(self, names: Iterable[str]) -> Path | None:
        """The folder of kept predictions; None where they are not all there."""
        folder = self.folder / _PREDICTIONS
        return folder if all((folder / name).is_dir() for name in names) else None

    def keep_predictions(self, made: Path) -> None:
        """Move a folder of predictions here."""
        target = self.folder / _PREDICTIONS
        if target.exists():
            shutil.rmtree(target)
        made.rename(target)

    @property
    def counting(self) -> UnfinishedShard:
        """What is counted so far, and not kept yet."""
        return UnfinishedShard(self.folder / "unfinished.npz")

    @property
    def unfinished(self) -> Path:
        """Where predictions are made, before they are kept; emptied, if there are no counts yet."""
        folder = self.folder / f"{_PREDICTIONS}.unfinished"
        if folder.exists() and not self.counting.exists:
            shutil.rmtree(folder)
        folder.mkdir(exist_ok=True)
        return folder

    def _file(self, label: str) -> Path:
        return self.folder / f"{label}.npz"
