"""Test-time settings: their one type, and the one place where a recipe becomes settings.

Rules, grids, searches, commands, the page and the header of a released model all hold this type,
so that a setting cannot mean one thing in a table and another in the model beside it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from scan_core.errors import InputError, worded
from scan_core.params.schema.clip import Clip, ClipFinetune
from scan_core.params.schema.fields import InferencePrecision
from scan_core.params.schema.recipe import Recipe
from scan_core.params.schema.segmenter import Segmenter
from scan_core.storage.files import json_digest

DEFAULT = "default"
Precision = InferencePrecision
_form: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


class Stored:
    """Values that are kept as JSON: in the header of a model, or beside an evaluation."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values: dict[str, Any] = _form(type(self)).dump_python(self, mode="json")
        return values

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The inverse of `as_dict`.

        Raises:
            InputError: not of that form.
        """
        try:
            found: Self = _form(cls).validate_python(values)
        except ValidationError as error:
            raise InputError(
                f"test-time settings: {worded(error.errors()[0])}. The workflow makes again what "
                "another version of this project has made"
            ) from None
        return found


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class TestSettings(Stored):
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
            `bfloat16`, `float16`: CLIP on crops, nine tenths of the work, in that, and the rest as
            in `tf32`: a mask that moves across its threshold changes a crop, and with it much more
            than rounding would.

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
    logit_scale: float | Literal["learned"]
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
        return json_digest(self.as_dict())[:12]

    @property
    def view(self) -> tuple[int, int, tuple[float, ...], bool, bool]:
        """What the networks are shown of an image; settings with one view share their features.

        Whether TF32 is allowed counts too, since masks depend on it.
        """
        tf32 = self.precision != "float32"
        return self.short_side, self.longest_side, self.scales, self.flip, tf32

    def overridden(self, **values: Any) -> "TestSettings":
        """The same with other values; crops that follow the mask threshold go on following it."""
        if "mask_threshold" in values and self.crop_threshold == self.mask_threshold:
            values = {"crop_threshold": values["mask_threshold"], **values}
        return replace(self, **values)


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class SettingsTable(Stored):
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


def resolve_settings(recipe: Recipe, benchmark: str | None = None) -> TestSettings:
    """The settings with which a recipe's model is tested.

    A model that was fine-tuned without contextual shift is tested without it.

    Args:
        recipe: of the model.
        benchmark: its name; None, or one that a table of `inference` does not name: the
            table's `default`.

    Raises:
        InputError: the settings contradict each other.
    """
    values: dict[str, Any] = {
        key: value.get(benchmark or DEFAULT, value[DEFAULT]) if isinstance(value, dict) else value
        for key, value in recipe.inference
        if key != "benchmarks"
    }
    if values["crop_threshold"] == "mask_threshold":
        values["crop_threshold"] = values["mask_threshold"]
    if values["prompts"] == "trained":
        values["prompts"] = recipe.clip.prompts
    if not recipe.clip_finetune.contextual_shift:
        values |= {"replace_ratio": 0.0, "replace_layers": ()}
    for key in ("replace_layers", "scales"):
        values[key] = tuple(values[key])
    try:
        return TestSettings(**values)
    except InputError as error:
        where = f" of {benchmark}" if benchmark else ""
        raise InputError(f"inference: the settings{where} cannot be used: {error}") from None


def settings_table(recipe: Recipe) -> SettingsTable:
    """The settings of every benchmark that a recipe evaluates, and its default."""
    benchmarks = {name: resolve_settings(recipe, name) for name in recipe.inference.benchmarks}
    return SettingsTable(resolve_settings(recipe), benchmarks)


def training_settings(
    segmenter: Segmenter, clip: Clip, clip_finetune: ClipFinetune | None
) -> TestSettings:
    """Settings of validations and of mining, which depend on the trainings alone: without CLIP.

    Args:
        segmenter: of the recipe.
        clip: of the recipe.
        clip_finetune: of the recipe; None: a stage without fine-tuning, which has no crops.
    """
    threshold = clip_finetune.crop_threshold if clip_finetune else 1.0
    return TestSettings(
        mask_threshold=threshold,
        crop_threshold=threshold,
        crop_expansion=clip_finetune.crop_expansion if clip_finetune else 1.0,
        clip_weight=0.0,
        ensemble="geometric",
        replace_ratio=0.0,
        replace_layers=(),
        prompts=clip.prompts,
        logit_scale=segmenter.logit_scale,
        short_side=segmenter.input.short_side,
        longest_side=segmenter.input.longest_side,
        precision=clip_finetune.pairs.precision if clip_finetune else "float32",
    )
