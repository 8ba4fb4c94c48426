"""What a model is tested with on one benchmark: settings by key, and which the classifiers have."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from scan_core.errors import InputError
from scan_core.params.classifiers import classifier_settings
from scan_core.params.settings import SettingsTable, TestSettings


@dataclass(frozen=True)
class EvaluationSettings:
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
        try:
            return TypeAdapter(cls).validate_json(path.read_bytes())
        except OSError as error:
            raise InputError(f"settings {path} cannot be read: {error.strerror}") from None
        except (ValidationError, InputError) as error:
            raise InputError(f"{path} is no file of test-time settings: {error}") from None

    @classmethod
    def from_dict(cls, values: Any) -> "EvaluationSettings":
        """The inverse of `as_dict`."""
        return TypeAdapter(cls).validate_python(values)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values: dict[str, Any] = TypeAdapter(EvaluationSettings).dump_python(self, mode="json")
        return values

    def table(self) -> SettingsTable:
        """The whole model's settings as the default of a model."""
        return SettingsTable(self.settings[self.classifiers["combined"]], {})
