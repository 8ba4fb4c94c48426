"""The benchmarks of a search: encoded once, scored for every trial."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scan_core.datasets.loading import BenchmarkImages
from scan_core.inference.scan import Scan
from scan_core.params.schema.grids import Search
from scan_core.params.schema.recipe import Recipe
from scan_core.params.settings import TestSettings
from scan_core.search.features import BenchmarkFeatures, predicted_names
from scan_core.search.kept_features import KeptFeatures, features_identity
from scan_core.search.settings import not_searched, settings_of_crops, settings_of_trial
from scan_core.search.study import Scores, Values
from scan_core.vocabulary.classes import ClassList, load_class_list


@dataclass(frozen=True)
class SearchedBenchmark:
    """One benchmark of a search.

    Attributes:
        index: its `index.json`.
        classes: class list that it is scored by.
    """

    index: Path
    classes: str


@dataclass(frozen=True)
class Workplace:
    """Where a search keeps what it has made, for its next start.

    Attributes:
        folder: of the search.
        model: the file of its weights.
        code: a hash of what runs.
        signals: gets the number of a signal to stop; see `stop_signals`.
    """

    folder: Path
    model: Path
    code: str
    signals: Sequence[int] = ()

    def of(
        self,
        name: str,
        benchmark: SearchedBenchmark,
        classes: ClassList,
        settings: Sequence[TestSettings],
    ) -> KeptFeatures:
        """The features of a benchmark."""
        names = [classes.names, predicted_names(classes)]
        identity = features_identity(self.model, benchmark.index, self.code, settings, names)
        return KeptFeatures(self.folder / "features" / name, identity)


class SearchedBenchmarks:
    """What the networks say about all images of a search.

    Args:
        scan: the model.
        search: its keys, metric and number of images.
        recipe: whose settings trials differ from in what is searched.
        benchmarks: by name.
        memory: bytes that may be kept.
        workplace: where features and counts are kept; None: nowhere.

    Raises:
        InputError: an unreadable image, or not enough memory.
        Interrupted: a signal to stop came; see `BenchmarkFeatures`.
    """

    def __init__(
        self,
        scan: Scan,
        search: Search,
        recipe: Recipe,
        benchmarks: Mapping[str, SearchedBenchmark],
        memory: float,
        workplace: Workplace | None = None,
    ) -> None:
        self._search, self._recipe = search, recipe
        self._features: dict[str, BenchmarkFeatures] = {}
        for name, benchmark in benchmarks.items():
            classes = load_class_list(benchmark.classes)
            settings = settings_of_crops(search, recipe, name)
            features = BenchmarkFeatures(
                scan,
                BenchmarkImages(benchmark.index, "train"),
                classes,
                settings,
                search.images,
                memory,
                workplace.of(name, benchmark, classes, settings) if workplace else None,
                workplace.signals if workplace else (),
            )
            self._features[name] = features
            memory -= features.memory

    def scores(self, trials: Sequence[Values]) -> list[Scores]:
        """The metric on each benchmark, for each trial, in one pass over the images."""
        columns = {}
        for name, features in self._features.items():
            settings = [settings_of_trial(self._recipe, name, values) for values in trials]
            columns[name] = features.score(settings, self._search.metric)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def finish(self) -> None:
        """Remove what only a search needs that has not ended; the features stay."""
        for features in self._features.values():
            features.finish()


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
        name: [_scored_by(load_class_list(b.classes)), not_searched(search, recipe, name)]
        for name, b in benchmarks.items()
    }
    texts = [search.model_dump_json(exclude={"trials"}), json.dumps(fixed), *others]
    digest = hashlib.sha256("\0".join(texts).encode())
    for path in (model, *(benchmark.index for benchmark in benchmarks.values())):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _scored_by(classes: ClassList) -> list[Any]:
    parents = sorted(classes.parents.items())
    return [classes.names, classes.seen, parents, predicted_names(classes)]
