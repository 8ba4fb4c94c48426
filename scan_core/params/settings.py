"""Test-time settings: the one type of them, and a table of them by benchmark.

Rules, grids, searches, commands, the page and the header of a released model all hold this type,
and `params.resolution` is where a recipe becomes one, so that a setting cannot mean one thing in
a table and another in the model beside it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from scan_core.errors import InputError

DEFAULT = "default"
Precision = Literal["float32", "tf32", "bfloat16", "float16"]


@dataclass(frozen=True)
class TestSettings:
    """Everything, besides weights, image and class names, that a prediction depends on.

    Attributes:
        mask_threshold: a proposal without a pixel above this probability is not shown to CLIP.
        crop_threshold: pixels above this probability form the crop; at most `mask_threshold`.
        crop_expansion: width and height of a crop, as a multiple of its mask's bounding box.
        clip_weight: exponent of CLIP's score; 0: in-vocabulary only, 1: CLIP only.
        ensemble: `geometric`, or `log`, which renormalises and weighs by objectness.
        replace_ratio: contextual shift, share of the background tokens that are replaced.
        replace_layers: contextual shift, after which blocks (1-based).
        prompts: set of templates around class names.
        logit_scale: factor of the cosine similarities; `learned`: CLIP's own.
        short_side: images are resized to this short side, pixels,
        longest_side: unless the longer side would exceed this, pixels.
        scales: test-time augmentation, of the resized image.
        flip: test-time augmentation, also the mirror image.
        precision: of matrix products. `float32`: without TF32; `tf32`: with it, where a GPU has it;
            `bfloat16`, `float16`: CLIP on crops in that, nine tenths of the work, and the rest as
            in `tf32`, for a mask that moves across its threshold changes a crop, and with it much
            more than rounding would.

    Raises:
        InputError: values that contradict each other.
    """

    __test__ = False  # not a test case, whatever pytest makes of the name

    mask_threshold: float
    crop_threshold: float
    crop_expansion: float
    clip_weight: float
    ensemble: Literal["geometric", "log"]
    replace_ratio: float
    replace_layers: tuple[int, ...]
    prompts: str
    logit_scale: float | str
    short_side: int
    longest_side: int
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.crop_threshold > self.mask_threshold:
            raise InputError(
                f"mask_threshold {self.mask_threshold:g} is below crop_threshold "
                f"{self.crop_threshold:g}: a mask without a pixel above the latter has no crop, so "
                "all such thresholds are one. Raise the one or lower the other"
            )

    @property
    def key(self) -> str:
        """12 hexadecimal digits by which results of these settings are known."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def view(self) -> tuple[int, int, tuple[float, ...], bool, bool]:
        """What the networks are shown of an image; settings with one view share their features.

        Whether TF32 is allowed counts too, since masks depend on it.
        """
        tf32 = self.precision != "float32"
        return self.short_side, self.longest_side, self.scales, self.flip, tf32

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}

    @classmethod
    def from_dict(cls, values: Any) -> "TestSettings":
        """The inverse of `as_dict`.

        Raises:
            InputError: not of that form.
        """
        known = [field.name for field in fields(cls)]
        if not isinstance(values, Mapping) or values.keys() != set(known):
            raise InputError(
                f"test-time settings: expected exactly the keys {', '.join(known)}. The "
                "workflow makes again what another version of this project has made"
            )
        plain: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in values.items()
        }
        return cls(**plain)

    def with_clip_weight(self, weight: float) -> "TestSettings":
        """Another weight, all else equal: 0 is the segmenter alone, 1 CLIP alone."""
        return replace(self, clip_weight=weight)


@dataclass(frozen=True)
class SettingsTable:
    """A recipe's settings for each benchmark, and those for images of none.

    Attributes:
        default: what a model uses unless a benchmark is named.
        benchmarks: by name.
    """

    default: TestSettings
    benchmarks: Mapping[str, TestSettings]

    def of(self, benchmark: str | None) -> TestSettings:
        """The settings of a benchmark; None: the default.

        Raises:
            InputError: there are none for it.
        """
        if benchmark is None:
            return self.default
        if benchmark not in self.benchmarks:
            raise InputError(
                f"there are no test-time settings for the benchmark '{benchmark}'; there are some "
                f"for {', '.join(self.benchmarks)}"
            )
        return self.benchmarks[benchmark]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            DEFAULT: self.default.as_dict(),
            "benchmarks": {name: one.as_dict() for name, one in self.benchmarks.items()},
        }

    @classmethod
    def from_dict(cls, values: Any) -> "SettingsTable":
        """The inverse of `as_dict`.

        Raises:
            InputError: not of that form.
        """
        if not isinstance(values, Mapping) or values.keys() != {DEFAULT, "benchmarks"}:
            raise InputError("test-time settings: expected the keys 'default' and 'benchmarks'")
        benchmarks = {n: TestSettings.from_dict(v) for n, v in values["benchmarks"].items()}
        return cls(TestSettings.from_dict(values[DEFAULT]), benchmarks)
