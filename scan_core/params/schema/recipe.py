"""One experiment, complete."""

from typing import Annotated

from pydantic import Field, model_validator

from scan_core.params.schema.clip import Clip, ClipFinetune
from scan_core.params.schema.datasets import Datasets
from scan_core.params.schema.diagnosis import Diagnosis
from scan_core.params.schema.fields import NULL_REMOVES, Block, FilePath, Name, Seed, weights_file
from scan_core.params.schema.inference import Inference
from scan_core.params.schema.segmenter import Segmenter


class ReleasedDefects(Block):
    """Defects of the released implementation: each is repaired unless its switch is `true`.

    `faithful: true` sets them all; `docs/released_behaviour.md` says what each does.
    """

    fail_without_masks: bool = False
    """An image of which no mask exceeds the threshold is an error, not a result without CLIP."""
    first_image_context: bool = False
    """Crops of all images of a batch get the first image's [CLS] token."""
    global_random_draws: bool = False
    """Contextual shift draws from Python's global random state, which nothing seeds."""
    nearest_padded_view: bool = False
    """CLIP sees the whole batch's images with their padding, shrunk by taking nearest pixels."""
    rejected_masks_score_one: bool = False
    """A mask that CLIP was not shown has CLIP's full score for every class."""
    stale_text_features: bool = False
    """Text features outlive a change of the text tower's weights."""
    zero_weight_is_clip_only: bool = False
    """`clip_weight: 0` means CLIP alone, the opposite of its limit."""
    discard_last_auxiliary_loss: bool = False
    """The losses of the last auxiliary output are computed and then not used."""


class Recipe(Block):
    """One experiment, complete."""

    extends: Name | None = Field(default=None, exclude=True)
    """Another recipe, of which this one says only what differs: blocks and tables are merged key by
    key, everything else replaces what was there, and so does `null`."""
    seed: Seed
    """Seed of every random stream."""
    faithful: bool
    """`true` repeats the released implementation to its last quirk."""
    released_defects: ReleasedDefects = ReleasedDefects()
    grids: list[Name]
    """Ablation grids that `all` builds, by their names under `ablations`."""
    datasets: Datasets
    clip: Clip
    segmenter: Segmenter
    clip_finetune: ClipFinetune
    inference: Inference
    diagnosis: Diagnosis = Diagnosis()
    predictions: Annotated[dict[Name, FilePath], NULL_REMOVES] = Field(default_factory=dict)
    """Predictions of other models, which are scored and stand in the tables: a name of your choice
    and a folder. For each benchmark it has a folder of label maps, `<benchmark>/<stem>.png`, or
    `<benchmark>.json` with masks in COCO's run lengths; values are training ids."""

    @property
    def defects(self) -> ReleasedDefects:
        """The released defects to repeat: all of them if `faithful`."""
        if not self.faithful:
            return self.released_defects
        return ReleasedDefects(**dict.fromkeys(ReleasedDefects.model_fields, True))

    @property
    def imported(self) -> dict[str, tuple[str, str]]:
        """Stage -> kind and path of the file that its weights come from; without other stages."""
        sources = {
            "clip": self.clip.source,
            "segmenter": self.segmenter.source,
            "finetuned_clip": self.clip_finetune.source,
        }
        files = {stage: weights_file(source) for stage, source in sources.items()}
        return {stage: file for stage, file in files.items() if file}

    @property
    def trains(self) -> bool:
        """Whether a training reads the training benchmark."""
        return not {"segmenter", "finetuned_clip"} <= self.imported.keys()

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        known = self.datasets.benchmarks
        for name in self.inference.benchmarks:
            if "val" not in getattr(known.get(name), "images", {}):
                raise ValueError(
                    f"'inference.benchmarks' names '{name}', but 'datasets.benchmarks' has no "
                    "such benchmark with a 'val' split"
                )
        integration = self.segmenter.semantic_integration
        blocks = self.clip.vision_blocks
        for key, chosen in (
            ("segmenter.semantic_integration.clip_layers", integration.clip_layers),
            ("clip_finetune.replace_layers", self.clip_finetune.replace_layers),
            ("inference.replace_layers", self.inference.replace_layers),
        ):
            if blocks is not None and max(chosen, default=0) > blocks:
                raise ValueError(
                    f"'{key}' names layer {max(chosen)}, but this CLIP's image tower has {blocks}"
                )
        for key, table in self.inference:
            if not isinstance(table, dict):
                continue
            if "default" not in table:
                raise ValueError(
                    f"'inference.{key}' needs a 'default', for benchmarks that it does not name "
                    "and for images of no benchmark"
                )
            if strangers := [n for n in table if n not in known and n != "default"]:
                raise ValueError(f"'inference.{key}' names the unknown benchmark '{strangers[0]}'")
        return self
