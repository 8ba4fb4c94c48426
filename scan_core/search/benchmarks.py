"""The benchmarks of a search: encoded once, scored for every trial."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scan_core.datasets.loading import BenchmarkImages
from scan_core.inference.scan import Scan
from scan_core.params.schema.grids import Search
from scan_core.params.schema.recipe import Recipe
from scan_core.search.features import BenchmarkFeatures
from scan_core.search.settings import not_searched, settings_of_crops, settings_of_trial
from scan_core.search.study import Scores, Values
from scan_core.vocabulary.classes import load_class_list


@dataclass(frozen=True)
class SearchedBenchmark:
    """One benchmark of a search.

    Attributes:
        index: its `index.json`.
        classes: class list that it is scored by.
    """

    index: Path
    classes: str


class SearchedBenchmarks:
    """What the networks say about all images of a search.

    Args:
        scan: the model.
        search: its keys, metric and number of images.
        recipe: whose settings trials differ from in what is searched.
        benchmarks: by name.
        memory: bytes that may be kept.

    Raises:
        InputError: an unreadable image, or not enough memory.
    """

    def __init__(
        self,
        scan: Scan,
        search: Search,
        recipe: Recipe,
        benchmarks: Mapping[str, SearchedBenchmark],
        memory: float,
    ) -> None:
        self._search, self._recipe = search, recipe
        self._features: dict[str, BenchmarkFeatures] = {}
        for name, benchmark in benchmarks.items():
            kept = BenchmarkFeatures(
                scan,
                BenchmarkImages(benchmark.index, "train"),
                load_class_list(benchmark.classes),
                settings_of_crops(search, recipe, name),
                search.images,
                memory,
            )
            self._features[name] = kept
            memory -= kept.memory

    def scores(self, trials: Sequence[Values]) -> list[Scores]:
        """The metric on each benchmark, for each trial, in one pass over the images."""
        columns = {}
        for name, kept in self._features.items():
            settings = [settings_of_trial(self._recipe, name, values) for values in trials]
            columns[name] = kept.score(settings, self._search.metric)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def identity(
    search: Search,
    recipe: Recipe,
    benchmarks: Mapping[str, SearchedBenchmark],
    model: Path,
    others: Sequence[str],
) -> str:
    """A hash of what the scores of a trial depend on, 12 hexadecimal digits.

    Args:
        search: all of it but the number of trials.
        recipe: of it the test-time settings that are not searched.
        benchmarks: by name.
        model: the file.
        others: texts, such as a hash of the code.
    """
    fixed = {
        name: [b.classes, not_searched(search, recipe, name)] for name, b in benchmarks.items()
    }
    texts = [search.model_dump_json(exclude={"trials"}), json.dumps(fixed), *others]
    digest = hashlib.sha256("\0".join(texts).encode())
    for path in (model, *(benchmark.index for benchmark in benchmarks.values())):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]
