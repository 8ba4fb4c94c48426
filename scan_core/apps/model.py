"""The model that a person means, and images in class names of their own."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from scan_core.apps.class_names import ClassNames
from scan_core.errors import InputError
from scan_core.params.reading import read_params, validate
from scan_core.params.schema.recipe import Recipe
from scan_core.params.settings import Precision, TestSettings, settings_table
from scan_core.storage.files import file_digest

if TYPE_CHECKING:  # PyTorch takes seconds to import: after what can be refused without it
    from torch import Tensor

    from scan_core.inference.image_features import ImageViews
    from scan_core.inference.scan import Scan

DEFAULT_RECIPE = "mini"


@dataclass(frozen=True)
class ModelSource:
    """Which model is opened, and whose settings it uses.

    Attributes:
        checkpoint: a released or imported model (default: the release of the recipe).
        recipe: without --checkpoint, open the release of this recipe (default: mini); with one, use
            this recipe's test-time settings instead of those that the checkpoint holds.
        benchmark: use the settings that the model was evaluated with on this benchmark.
        params: file of the recipes.
    """

    checkpoint: Path | None = None
    recipe: str | None = None
    benchmark: str | None = None
    params: Path = Path("params.yaml")

    def open(self, **options: Any) -> "Scan":
        """Load the model.

        Args:
            options: `device`, `text_cache`.

        Returns:
            the model; its header says under `checkpoint` which file it is.

        Raises:
            InputError: there is no such checkpoint or recipe, or the two do not belong together.
        """
        from scan_core.inference.scan import Scan

        table = None
        if self.checkpoint is not None and self.recipe is not None:
            recipes = validate(read_params(self.params), str(self.params)).recipes
            if self.recipe not in recipes:
                raise InputError(
                    f"recipe '{self.recipe}' is unknown; {self.params} has {', '.join(recipes)}"
                )
            recipe = recipes[self.recipe]
            table = settings_table(recipe)
        checkpoint = self.checkpoint or _released(self.recipe or DEFAULT_RECIPE)
        scan = Scan.from_checkpoint(checkpoint, table, **options)
        if table is not None:
            _check_fit(scan, recipe, checkpoint, str(self.recipe))
        scan.header["checkpoint"] = {"path": str(checkpoint), "sha256": file_digest(checkpoint)}
        scan.settings = scan.settings_table.of(self.benchmark)
        return scan


@dataclass(frozen=True)
class ModelOptions(ModelSource):
    """Which model is opened, where it runs, and settings that replace its own.

    Attributes:
        device: auto, cpu, cuda, ...
        text_cache: folder that keeps text features for later runs.
        clip_weight: 0: the segmenter alone, 1: CLIP alone.
        mask_threshold: CLIP sees the pixels whose mask probability is above this.
        replace_ratio: ratio of background tokens that the contextual shift replaces.
        precision: of the arithmetic; with bfloat16, CLIP on crops is about twice as fast.
    """

    device: str = "auto"
    text_cache: Path | None = None
    clip_weight: float | None = None
    mask_threshold: float | None = None
    replace_ratio: float | None = None
    precision: Precision | None = None

    def open(self, **options: Any) -> "Scan":
        """Load the model to its device, and override its settings."""
        keys = ("clip_weight", "mask_threshold", "replace_ratio", "precision")
        given = {key: getattr(self, key) for key in keys if getattr(self, key) is not None}
        for key in given.keys() - {"precision"}:
            check_fraction(key, given[key])
        from scan_core.inference.devices import chosen_device

        device = chosen_device(self.device)
        scan = super().open(device=device, text_cache=self.text_cache, **options)
        scan.settings = scan.settings.overridden(**given)
        return scan


# As parameters of a command: options without a prefix.
Source = Annotated[ModelSource, tyro.conf.arg(name="")]
Options = Annotated[ModelOptions, tyro.conf.arg(name="")]


def check_fraction(name: str, value: float) -> None:
    """Raise InputError unless a value is between 0 and 1."""
    if not 0 <= value <= 1:
        raise InputError(f"{name} {value:g}: expected a number from 0 to 1")


@dataclass(frozen=True)
class ScoredMap:
    """A class for every pixel, with its score.

    Attributes:
        class_map: (H, W) int32, an index of the class names for every pixel.
        score_map: (H, W) float32, 0..1: the score of each pixel's class.
    """

    class_map: NDArray[np.int32]
    score_map: NDArray[np.float32]

    def scores(self) -> dict[int, float]:
        """For each class that is there the mean score of its pixels, 0..1."""
        ids = self.class_map.reshape(-1)
        counts = np.bincount(ids)
        sums = np.bincount(ids, weights=self.score_map.reshape(-1))
        return {int(i): float(sums[i] / counts[i]) for i in np.flatnonzero(counts)}


def classify(
    scan: "Scan",
    views: "ImageViews",
    text: "Tensor",
    classes: ClassNames,
    settings: TestSettings,
    size: tuple[int, int],
    minimum_score: float = 0.0,
) -> ScoredMap:
    """Give every pixel a class, from what the networks computed.

    Args:
        scan: the model.
        views: from `Scan.encode`, with the crops that `settings` needs.
        text: `scan.embed(classes.words)`.
        classes: what to look for.
        settings: how the classifiers are combined.
        size: height and width of the result.
        minimum_score: pixels whose class scores less are background, if there is one.
    """
    import torch

    from scan_core.inference.class_map import class_maps, pixel_scores
    from scan_core.inference.scan import as_array

    with torch.inference_mode():
        scores = scan.score(views, text, settings, classes.owners)
        masks = views.masks(size)
        (class_map,) = class_maps(masks, [scores], size)
        score_map = pixel_scores(masks, scores, class_map).clamp(max=1)
        if classes.background_id is not None:
            class_map[score_map < minimum_score] = classes.background_id
        return ScoredMap(as_array(class_map), score_map.float().cpu().numpy())


def _released(recipe: str) -> Path:
    path = Path(f"results/{recipe}/release/model.safetensors")
    if path.is_file():
        return path
    how = "`make demo` makes it" if recipe == DEFAULT_RECIPE else f"Run the recipe {recipe} first"
    raise InputError(
        f"there is no model yet: {path} does not exist. {how}, or name another one with "
        "--checkpoint"
    )


def _check_fit(scan: "Scan", recipe: Recipe, checkpoint: Path, name: str) -> None:
    from scan_core.models.build import architecture_of

    theirs = scan.header["architecture"]
    ours = architecture_of(recipe.segmenter, recipe.clip)
    if differing := [part for part in ours if theirs.get(part) != ours[part]]:
        raise InputError(
            f"checkpoint {checkpoint} is of another recipe than '{name}': its {differing[0]} is "
            f"{theirs.get(differing[0])}, the recipe's {ours[differing[0]]}. Name its own recipe, "
            "or none: a checkpoint holds its settings"
        )
