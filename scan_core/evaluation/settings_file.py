"""What a model is tested with on one benchmark: settings by key, and the ways to classify."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scan_core.errors import InputError
from scan_core.params.classifiers import classifier_settings
from scan_core.params.settings import SettingsTable, TestSettings


@dataclass(frozen=True)
class EvaluationSettings:
    """The settings of one evaluation.

    Attributes:
        ways: way to classify -> the key of its settings.
        settings: by key; those of the ways, and of any grid.
    """

    ways: Mapping[str, str]
    settings: Mapping[str, TestSettings]

    @classmethod
    def of_ways(cls, settings: TestSettings) -> "EvaluationSettings":
        """The ways to classify of a model, and nothing else."""
        ways = classifier_settings(settings)
        return cls(
            {way: one.key for way, one in ways.items()}, {one.key: one for one in ways.values()}
        )

    def table(self) -> SettingsTable:
        """The model as a whole as the default of a model."""
        return SettingsTable(self.settings[self.ways["combined"]], {})

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "ways": dict(self.ways),
            "settings": {key: one.as_dict() for key, one in self.settings.items()},
        }

    @classmethod
    def from_dict(cls, values: Any) -> "EvaluationSettings":
        """The inverse of `as_dict`.

        Raises:
            InputError: not of that form, or a key that is not that of its settings.
        """
        try:
            settings = {k: TestSettings.from_dict(v) for k, v in values["settings"].items()}
            ways = {str(way): str(key) for way, key in values["ways"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"expected the keys 'ways' and 'settings' ({type(error).__name__}: {error})"
            ) from None
        if strange := [key for key, one in settings.items() if one.key != key]:
            raise InputError(f"'{strange[0]}' is not the key of its settings")
        if missing := [way for way, key in ways.items() if key not in settings]:
            raise InputError(f"there are no settings for the way '{missing[0]}'")
        return cls(ways, settings)


def load_settings(path: Path) -> EvaluationSettings:
    """Read a file of settings.

    Raises:
        InputError: unreadable, or not of that form.
    """
    try:
        return EvaluationSettings.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"settings {path} cannot be read: {error.strerror}") from None
    except (ValueError, InputError) as error:
        raise InputError(f"{path} is no file of test-time settings: {error}") from None
