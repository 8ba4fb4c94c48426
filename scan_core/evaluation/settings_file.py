"""What a model is tested with on one benchmark: settings by key, and which the classifiers have."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scan_core.params.classifiers import classifier_settings
from scan_core.params.settings import SettingsTable, Stored, TestSettings
from scan_core.storage.files import read_json


@dataclass(frozen=True)
class EvaluationSettings(Stored):
    """The settings of one evaluation.

    Attributes:
        classifiers: classifier -> the key of its settings.
        settings: by key; those of the classifiers, and of any grid.
    """

    classifiers: Mapping[str, str]
    settings: Mapping[str, TestSettings]

    @classmethod
    def of_classifiers(cls, settings: TestSettings) -> "EvaluationSettings":
        """The whole model and each of its classifiers, and nothing else."""
        found = classifier_settings(settings)
        return cls(
            {name: one.key for name, one in found.items()},
            {one.key: one for one in found.values()},
        )

    @classmethod
    def read(cls, path: Path) -> "EvaluationSettings":
        """Read a JSON file.

        Raises:
            InputError: unreadable, or not of that form.
        """
        return cls.from_dict(read_json(path, "`snakemake` writes it anew"))

    def table(self) -> SettingsTable:
        """The whole model's settings as the default of a model."""
        return SettingsTable(self.settings[self.classifiers["combined"]], {})
