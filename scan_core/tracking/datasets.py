"""The data that runs are made with: name, split, and the digest of the dataset manifest."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scan_core.errors import InputError
from scan_core.storage.records import read_record


@dataclass(frozen=True)
class DataUse:
    """A split of a benchmark that a run was made with.

    Attributes:
        benchmark: its name in the recipe.
        split: `train` or `val`.
        digest: the hash of the dataset manifest.
        profile: split -> number of images.
    """

    benchmark: str
    split: str
    digest: str
    profile: dict[str, int]


class Manifest:
    """The dataset manifest of a recipe.

    Args:
        path: JSON that the rule `dataset_manifest` writes.

    Raises:
        InputError: unreadable or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        document = read_record(path, "make it again")
        try:
            self.digest = str(document["hash"])
            self._images = {
                name: {split: int(s["images"]) for split, s in benchmark["splits"].items()}
                for name, benchmark in document["benchmarks"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path} is damaged; make it again") from None

    def uses(self, benchmarks: Iterable[str], split: str) -> tuple[DataUse, ...]:
        """A split of several benchmarks.

        Raises:
            InputError: the manifest knows nothing of one of them.
        """
        chosen = list(benchmarks)
        if unknown := [name for name in chosen if split not in self._images.get(name, {})]:
            raise InputError(f"{self.path} has no split '{split}' of {unknown[0]}; make it again")
        return tuple(DataUse(name, split, self.digest, self._images[name]) for name in chosen)
