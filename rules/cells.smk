"""What is trained: cells of grids, and the variants of each stage that they use."""

from scan_core.params.grid import cell_of, cells_of, check_grid, rows_of

# `snakemake ablations` builds every grid that is for this recipe, `all` those of its `grids: [...]`.
# Name of a grid that is for this recipe -> its rows, and its cells.
ROWS, CELLS = {}, {}
for name, grid in PARAMS.ablations.items():
    is_for_this = grid.recipe in (None, RECIPE_NAME)
    try:
        if not is_for_this:
            raise InputError(
                f"params.yaml: recipes.{RECIPE_NAME}.grids: the grid '{name}' is for the recipe "
                f"'{grid.recipe}'; name others, or none: []"
            )
        check_grid(name, RECIPE, grid)
        ROWS[name], CELLS[name] = list(rows_of(RECIPE, grid)), cells_of(RECIPE, grid)
    except InputError as error:
        if name in RECIPE.grids:
            raise WorkflowError(str(error)) from None
        # Such as one over the layers of a shift that this recipe does without.
        if is_for_this and workflow.is_main_process:
            logger.warning(f"Left out of `ablations`: {error}")

MAIN = cell_of(RECIPE)
MAIN_MODEL = MAIN.names["model"]
# Every cell that any target may ask for, by the model that it uses.
MODELS = {MAIN_MODEL: MAIN}
for cell in (cell for cells in CELLS.values() for cell in cells):
    MODELS.setdefault(cell.names["model"], cell)


def result(stage, variant):
    """The file that a stage makes."""
    file = {"pairs": "pairs.jsonl", "finetuned_clip": "clip.safetensors"}
    return f"{STAGES}/{stage}/{variant}/{file.get(stage, f'{stage}.safetensors')}"


# Stage -> variant -> a cell that uses it, and as what: a segmenter to mine with, or as its own. What
# comes from files has the place of its result below the folder of stages.
USED_AS = {
    stage: {} for stage in ("clip", "segmenter", "pairs", "finetuned_clip", "model", "imported")
}
for cell in MODELS.values():
    for role, variant in cell.names.items():
        stage = "segmenter" if role == "miner" else role
        if cell.imported(role):
            place = Path(result(stage, variant)).relative_to(STAGES).with_suffix("")
            stage, variant = "imported", str(place)
        USED_AS[stage][variant] = (cell, role)
CLIP_IS_DOWNLOADED = any(
    cell.part("clip").clip.source.startswith("open_clip:") for cell in MODELS.values()
)


def used_as(wildcards):
    """A cell that uses the variant that a job makes, and as what."""
    return next(of[wildcards[stage]] for stage, of in USED_AS.items() if stage in wildcards.keys())


def part_file(wildcards):
    """The part of the recipe that a variant of a stage depends on."""
    cell, role = used_as(wildcards)
    return handed(cell.part(role).model_dump())


def made_by(stage, role=None):
    """A function of wildcards: the result of a stage that a variant reads, in its role there."""
    return lambda wildcards: result(stage, used_as(wildcards)[0].names[role or stage])


def imported_from(wildcards):
    """Kind and path of the file of weights that a variant comes from."""
    cell, role = used_as(wildcards)
    return ":".join(cell.imported(role))


def segmenter_recipe(wildcards):
    """The segmenter's block of the recipe that a variant is trained with."""
    cell, role = used_as(wildcards)
    return (cell.mining_recipe if role == "miner" else cell.recipe).segmenter


def backbone_file(wildcards):
    """ImageNet weights of Swin: none, a file of one's own, or the downloaded one."""
    source, _, name = segmenter_recipe(wildcards).backbone.weights.partition(":")
    if source == "download" and name not in BACKBONE_ARCHIVES:
        raise WorkflowError(
            f"segmenter.backbone.weights: '{name}' is unknown; there are "
            f"{', '.join(BACKBONE_ARCHIVES)}"
        )
    if source == "download":
        return [f"{DATA}/archives/{BACKBONE_ARCHIVES[name]}"]
    return [name] if source == "file" else []


def trainings_of(cells):
    """Stage and variant of every training that cells come from."""
    stages = ("clip", "finetuned_clip", "segmenter")
    return sorted({(s, c.names[s]) for c in cells for s in stages if not c.imported(s)})


# Threads of a training or mining job, on one machine. The miniature world's tensors are too small for
# two cores to share: a second thread makes a step a fifth shorter and takes a core from other jobs. Sums
# over another number of threads end in other digits, so it does not follow the machine.
TRAINING_THREADS = 1 if RECIPE.datasets.source == "generate" else 8


# Pairs are mined, and benchmarks evaluated, in shards of about so many images, each a job.
IMAGES_PER_MINING_SHARD, IMAGES_PER_SHARD = 2000, 500


def mining_shards(wildcards):
    """Number of shards in which the images of a variant are mined."""
    train = BENCHMARKS[RECIPE.datasets.train].images["train"] or 1
    wanted = used_as(wildcards)[0].mining_recipe.clip_finetune.pairs.images or train
    return -(-min(wanted, train) // IMAGES_PER_MINING_SHARD)


def evaluation_shards(wildcards):
    """Number of shards of an evaluation."""
    return -(-(of_benchmark(wildcards).images["val"] or 1) // IMAGES_PER_SHARD)
