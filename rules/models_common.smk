"""Which models are made, and the helper functions of the rules that make them."""

from scan_core.params.stages import (
    clip_part,
    finetune_part,
    model_part,
    pairs_part,
    segmenter_part,
    write_part,
)
from scan_core.params.grid import cell_of, cells_of, needs_training, test_settings

GRIDS = {grid.name: grid for grid in PARAMS.ablations}
# `grids: [...]` of the recipe; `snakemake ablations` builds every grid that is for this recipe.
GRIDS_OF_RECIPE = list(RECIPE.grids)
GRIDS_FOR_RECIPE = [
    name for name, grid in GRIDS.items() if grid.recipe in (None, RECIPE_NAME)
]

for name in GRIDS_OF_RECIPE:
    if name not in GRIDS_FOR_RECIPE:
        raise WorkflowError(
            f"params.yaml: recipes.{RECIPE_NAME}.grids: the grid '{name}' is for the recipe "
            f"'{GRIDS[name].recipe}'"
        )

MAIN = cell_of(RECIPE, {}, RECIPE.seed)
# Every cell that any target may ask for, by the model that it uses.
CELLS = {name: cells_of(RECIPE, GRIDS[name]) for name in GRIDS_FOR_RECIPE}
MODELS = {MAIN.names["model"]: MAIN}
for cells in CELLS.values():
    for cell in cells:
        MODELS.setdefault(cell.names["model"], cell)


def of_stage(stage):
    """Variant -> a cell that uses it."""
    return {cell.names[stage]: cell for cell in MODELS.values()}


CLIPS, PAIRS, FINETUNED = of_stage("clip"), of_stage("pairs"), of_stage("finetuned")
# Variant -> recipe: segmenters that are evaluated, and those whose proposals are mined.
SEGMENTERS = {
    **{cell.names["miner"]: cell.mining_recipe for cell in MODELS.values()},
    **{cell.names["segmenter"]: cell.recipe for cell in MODELS.values()},
}
CELL_OF_SEGMENTER = {**of_stage("miner"), **of_stage("segmenter")}


def part_file(part):
    """A stage's part of the recipe as a file: longer than a command line may be, and named by its
    contents, so that a change counts.
    """
    return str(write_part(part, SNAPSHOT_FOLDER / "parts"))


def clip_recipe(wildcards):
    return part_file(clip_part(CLIPS[wildcards.clip].recipe))


def segmenter_recipe(wildcards):
    return part_file(segmenter_part(SEGMENTERS[wildcards.segmenter]))


def pairs_recipe(wildcards):
    return part_file(pairs_part(PAIRS[wildcards.pairs].mining_recipe))


def finetune_recipe(wildcards):
    return part_file(finetune_part(FINETUNED[wildcards.finetuned].mining_recipe))


def model_recipe(wildcards):
    return part_file(model_part(MODELS[wildcards.model].recipe))


def training_threads(stage):
    """Threads of a rule that makes the variants of a stage, on one machine.

    The miniature world's tensors are too small for many cores to share, and sums over another
    number of threads end in other digits. Its own model, which everything waits for, has two; the
    trainings of its grids wait for nothing and run side by side, a core each.
    """

    def threads(wildcards):
        if RECIPE.datasets.source != "generate":
            return 8
        return 2 if wildcards[stage] == MAIN.names[stage] else 1

    return threads


CLIP_IS_DOWNLOADED = any(
    cell.recipe.clip.source.startswith("open_clip:") for cell in CLIPS.values()
)


def clip_file(cell):
    return f"{RESULTS}/clip/{cell.names['clip']}/clip.safetensors"


def segmenter_file(variant):
    return f"{RESULTS}/segmenter/{variant}/segmenter.safetensors"


def clip_of_segmenter(wildcards):
    return clip_file(CELL_OF_SEGMENTER[wildcards.segmenter])


def clip_of_pairs(wildcards):
    return clip_file(PAIRS[wildcards.pairs])


def segmenter_of_pairs(wildcards):
    return segmenter_file(PAIRS[wildcards.pairs].names["miner"])


def clip_of_finetuned(wildcards):
    return clip_file(FINETUNED[wildcards.finetuned])


def clip_of_model(wildcards):
    return clip_file(MODELS[wildcards.model])


def segmenter_of_model(wildcards):
    return segmenter_file(MODELS[wildcards.model].names["segmenter"])


def finetuned_of_model(wildcards):
    variant = MODELS[wildcards.model].names["finetuned"]
    return f"{RESULTS}/finetuned_clip/{variant}/clip.safetensors"


def pairs_of_finetuned(wildcards):
    return (
        f"{RESULTS}/pairs/{FINETUNED[wildcards.finetuned].names['pairs']}/pairs.jsonl"
    )


TRAINING_INDEX = f"{DATA}/benchmarks/{RECIPE.datasets.train}/index.json"
TRAINING_LABELS = f"{DATA}/benchmarks/{RECIPE.datasets.train}/labels"
CAPTIONS = f"{RAW}/coco/annotations/captions_train2017.json"
# Where a person has put the raw data nothing makes the captions, so that they must be there before
# anything starts; elsewhere they come with the raw data.
CAPTIONS_OF_ONES_OWN = ancient(CAPTIONS) if SOURCE.startswith("local:") else []

BACKBONE_SOURCE = RECIPE.segmenter.backbone.weights


def backbone_file(wildcards):
    """ImageNet weights of Swin: none, a file of one's own, or the downloaded one."""
    if BACKBONE_SOURCE == "none":
        return []
    if BACKBONE_SOURCE.startswith("file:"):
        return [BACKBONE_SOURCE.removeprefix("file:")]
    name = BACKBONE_SOURCE.removeprefix("download:")
    if name not in BACKBONE_ARCHIVES:
        raise WorkflowError(
            f"segmenter.backbone.weights: '{name}' is unknown; there are "
            f"{', '.join(BACKBONE_ARCHIVES)}"
        )
    return [f"{DATA}/archives/{BACKBONE_ARCHIVES[name]}"]


def backbone_option(wildcards, input):
    return ["--backbone", str(input.backbone)] if input.backbone else []
