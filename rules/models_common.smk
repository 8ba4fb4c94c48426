"""Which models are made, and the helper functions of the rules that make them."""

from functools import cache

from scan_core.params.grid import cell_of, cells_of, check_grid
from scan_core.params.needed_files import CLASS_NAMES, captions
from scan_core.params.recipe_part import write_part
from scan_core.storage.digest import file_digest

GRIDS = PARAMS.ablations
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
for name in list(GRIDS_FOR_RECIPE):
    try:
        check_grid(name, RECIPE, GRIDS[name])
    except InputError as error:
        if name in GRIDS_OF_RECIPE:
            raise WorkflowError(str(error)) from None
        # Such as one over the layers of a shift that this recipe does without.
        GRIDS_FOR_RECIPE.remove(name)
        if workflow.is_main_process:
            logger.warning(f"Left out of `ablations`: {error}")
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
# Variant -> a cell that uses it, and as what: to mine with, or as its own.
SEGMENTERS = {
    **{variant: (cell, "miner") for variant, cell in of_stage("miner").items()},
    **{variant: (cell, "segmenter") for variant, cell in of_stage("segmenter").items()},
}


def part_file(cell, stage):
    """A stage's part of a cell's recipe, as a file."""
    return str(write_part(cell.part(stage), SNAPSHOT_FOLDER / "parts"))


def clip_made_of(wildcards):
    cell = CLIPS[wildcards.clip]
    part = cell.part("clip")
    return made_of(
        "clip_weights",
        wildcards.clip,
        part=part.model_dump(),
        file=own_file(part.clip.source),
    )


def segmenter_made_of(wildcards):
    cell, stage = SEGMENTERS[wildcards.segmenter]
    part = cell.part(stage)
    backbone = own_file(part.segmenter.backbone.weights)
    return made_of(
        "train_segmenter", wildcards.segmenter, part=part.model_dump(), file=backbone
    )


def pairs_shard_made_of(wildcards):
    part = PAIRS[wildcards.pairs].part("pairs")
    shards = mining_shards(wildcards)
    return made_of(
        "mine_shard",
        wildcards.pairs,
        part=part.model_dump(),
        shards=shards,
        captions=digest_of(str(CAPTIONS)) if CAPTIONS_OF_ONES_OWN else None,
    )


def finetuned_made_of(wildcards):
    part = FINETUNED[wildcards.finetuned].part("finetuned")
    return made_of("finetune_clip", wildcards.finetuned, part=part.model_dump())


def model_made_of(wildcards):
    part = MODELS[wildcards.model].part("model")
    return made_of("fuse_weights", wildcards.model, part=part.model_dump())


def own_file(source):
    """The digest of a file that a recipe names (`file:<path>`), so that replacing it counts."""
    own = source.startswith("file:")
    return digest_of(source.removeprefix("file:")) if own else None


@cache
def digest_of(path):
    """The digest of a file that nothing makes; None: it is not there."""
    return file_digest(Path(path)) if Path(path).is_file() else None


def clip_recipe(wildcards):
    return part_file(CLIPS[wildcards.clip], "clip")


def packaged_clip_recipe(wildcards):
    """Of a training of the small CLIP that comes with the package."""
    if RECIPE.clip.pretraining is None:
        raise WorkflowError(
            f"the recipe {RECIPE_NAME} has no small CLIP to train: --config recipe=mini"
        )
    training = RECIPE.clip.model_copy(update={"source": "train"})
    return part_file(clip_part(RECIPE.model_copy(update={"clip": training})))


def segmenter_recipe(wildcards):
    return part_file(*SEGMENTERS[wildcards.segmenter])


def pairs_recipe(wildcards):
    return part_file(PAIRS[wildcards.pairs], "pairs")


def finetune_recipe(wildcards):
    return part_file(FINETUNED[wildcards.finetuned], "finetuned")


def model_recipe(wildcards):
    return part_file(MODELS[wildcards.model], "model")


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


# Pairs are mined in shards of about so many images, each a job, and put together in order.
IMAGES_PER_MINING_SHARD = 2000

CLIP_IS_DOWNLOADED = any(
    cell.part("clip").clip.source.startswith("open_clip:") for cell in CLIPS.values()
)


def clip_file(cell):
    return f"{RESULTS}/clip/{cell.names['clip']}/clip.safetensors"


def segmenter_file(variant):
    return f"{RESULTS}/segmenter/{variant}/segmenter.safetensors"


def clip_of_segmenter(wildcards):
    return clip_file(SEGMENTERS[wildcards.segmenter][0])


def clip_of_pairs(wildcards):
    return clip_file(PAIRS[wildcards.pairs])


def segmenter_of_pairs(wildcards):
    return segmenter_file(PAIRS[wildcards.pairs].names["miner"])


def mining_shards(wildcards):
    """Number of shards in which the images of a variant are mined."""
    train = BENCHMARKS[RECIPE.datasets.train].images["train"] or 1
    images = PAIRS[wildcards.pairs].mining_recipe.clip_finetune.pairs.images or train
    return -(-min(images, train) // IMAGES_PER_MINING_SHARD)


def shards_of_pairs(wildcards):
    return expand(
        f"{RESULTS}/pairs/{{pairs}}/shards/{{shard}}.jsonl",
        pairs=wildcards.pairs,
        shard=range(mining_shards(wildcards)),
    )


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
# The index has the digest of every label map: of a folder only that it is there counts, not its time.
TRAINING_LABELS = ancient(f"{DATA}/benchmarks/{RECIPE.datasets.train}/labels")
CAPTIONS, CAPTIONS_ARE_MADE = captions(RECIPE)
# Captions of one's own nothing makes, so that they must be there before anything starts; others
# come with the raw data.
CAPTIONS_OF_ONES_OWN = (
    [] if CAPTIONS is None or CAPTIONS_ARE_MADE else ancient(str(CAPTIONS))
)
# What made the images that are mined, and their captions.
TRAINING_RECORDS = records_of_benchmarks([RECIPE.datasets.train])

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
