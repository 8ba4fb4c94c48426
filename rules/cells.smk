"""What is made: cells of grids, the variants of each stage that they use, and their evaluations."""

from functools import cache

from scan_core.evaluation.settings_file import EvaluationSettings
from scan_core.params.grid import rows_of
from scan_core.params.search_space import searched_benchmarks
from scan_core.params.settings import TestSettings, resolve_settings

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


def result(stage, variant):
    """The file that a stage makes."""
    file = {"pairs": "pairs.jsonl", "finetuned_clip": "clip.safetensors"}
    return f"{STAGES}/{stage}/{variant}/{file.get(stage, f'{stage}.safetensors')}"


MAIN = cell_of(RECIPE)
MAIN_MODEL = MAIN.names["model"]
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
ROWS = {name: list(rows_of(RECIPE, GRIDS[name])) for name in GRIDS_FOR_RECIPE}
MODELS = {MAIN_MODEL: MAIN}
for cells in CELLS.values():
    for cell in cells:
        MODELS.setdefault(cell.names["model"], cell)

# Stage -> variant -> a cell that uses it, and as what: a segmenter to mine with, or as its own.
USED_AS = {
    stage: {} for stage in ("clip", "segmenter", "pairs", "finetuned_clip", "model")
}
# The same for what comes from files, by the place of the result below the folder of stages.
IMPORTED = {}
for cell in MODELS.values():
    for role, variant in cell.names.items():
        stage = "segmenter" if role == "miner" else role
        if cell.imported(role):
            place = Path(result(stage, variant)).relative_to(STAGES).with_suffix("")
            IMPORTED[str(place)] = (cell, role)
        else:
            USED_AS[stage][variant] = (cell, role)
CLIP_IS_DOWNLOADED = any(
    cell.part("clip").clip.source.startswith("open_clip:") for cell in MODELS.values()
)


def part_of_imported(wildcards):
    """The architecture that weights from a file have to fit, as a file."""
    cell, stage = IMPORTED[wildcards.imported]
    return handed(cell.part(stage).model_dump())


def file_of_imported(wildcards):
    """Kind and path of the file of weights."""
    cell, stage = IMPORTED[wildcards.imported]
    return ":".join(cell.imported(stage))


def part_file(stage):
    """A function of wildcards: the part of the recipe that a variant of a stage depends on."""

    def of_variant(wildcards):
        cell, role = USED_AS[stage][wildcards[stage]]
        return handed(cell.part(role).model_dump())

    return of_variant


def made_by(stage, of, role=None):
    """A function of wildcards: the result of a stage that a variant reads.

    Args:
        stage: whose result is named.
        of: stage of the variant.
        role: in which the result is used, where that is not the stage.
    """
    return lambda wildcards: result(
        stage, USED_AS[of][wildcards[of]][0].names[role or stage]
    )


def records_of_trainings(cells, stages=("clip", "segmenter", "finetuned_clip")):
    """The curves of every training that cells come from."""
    trained = {(s, c.names[s]) for c in cells for s in stages if not c.imported(s)}
    return [f"{STAGES}/{s}/{variant}/metrics.jsonl" for s, variant in sorted(trained)]


def cells_of_grids(grids, every_seed):
    every = [cell for grid in grids for cell in CELLS[grid]]
    return [cell for cell in every if every_seed or cell.seed == RECIPE.seed]


def training_threads(stage):
    """Threads of a rule that makes the variants of a stage, on one machine.

    The miniature world's tensors are too small for many cores to share, and sums over another
    number of threads end in other digits. Its own model, which everything waits for, has two; the
    trainings of its grids wait for nothing and run side by side, a core each.
    """
    return lambda wildcards: (
        8
        if RECIPE.datasets.source != "generate"
        else 2 if wildcards[stage] == MAIN.names.get(stage) else 1
    )


# Pairs are mined in shards of about so many images, each a job, and put together in order.
IMAGES_PER_MINING_SHARD = 2000


def mining_shards(wildcards):
    """Number of shards in which the images of a variant are mined."""
    train = BENCHMARKS[RECIPE.datasets.train].images["train"] or 1
    images = (
        USED_AS["pairs"][wildcards.pairs][0].mining_recipe.clip_finetune.pairs.images
        or train
    )
    return -(-min(images, train) // IMAGES_PER_MINING_SHARD)


def shards_of_pairs(wildcards):
    shards = range(mining_shards(wildcards))
    return [f"{STAGES}/pairs/{wildcards.pairs}/shards/{n}.jsonl" for n in shards]


CAPTIONS, OWN_CAPTIONS = caption_file(RECIPE)
BACKBONE_SOURCE = RECIPE.segmenter.backbone.weights


def segmenter_recipe(wildcards):
    """The segmenter's block of the recipe that a variant is trained with."""
    cell, role = USED_AS["segmenter"][wildcards.segmenter]
    return (cell.mining_recipe if role == "miner" else cell.recipe).segmenter


def index_of_model(wildcards):
    """The index of the images that a model was trained on; none where all comes from files."""
    return f"{TRAINING}/index.json" if MODELS[wildcards.model].recipe.trains else []


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


EVALUATED = list(RECIPE.inference.benchmarks)
# A benchmark's images are evaluated in shards of about so many, each a job, and merged exactly.
IMAGES_PER_SHARD = 500


def shard_count(wildcards):
    """Number of shards of an evaluation."""
    images = BENCHMARKS[name_of(wildcards.evaluation)].images["val"] or 1
    return -(-images // IMAGES_PER_SHARD)


def of_data(file, wildcard="evaluation"):
    """A function of wildcards: a file of the benchmark that an evaluation is named after."""
    return lambda wildcards: f"{FOLDERS[name_of(wildcards[wildcard])]}/{file}"


def classes_of(wildcards):
    """The class list that an evaluation, or the scores of given predictions, are made by."""
    return BENCHMARKS[name_of(wildcards.get("evaluation") or wildcards.scores)].classes


@cache
def settings_of(model, benchmark):
    """All settings that a model is tested with on a benchmark: as the recipe says, and of grids."""
    own = EvaluationSettings.of_classifiers(
        resolve_settings(MODELS[model].model_recipe, benchmark)
    )
    of_grids = {
        row["key"]: TestSettings.from_dict(row["settings"])
        for rows in ROWS.values()
        for row in rows
        if (row["model"], row["benchmark"]) == (model, benchmark)
    }
    return EvaluationSettings(own.classifiers, {**own.settings, **of_grids}).as_dict()


@cache
def evaluation(model, benchmark):
    """The folder of a model's evaluation, named by the settings, the classes and the images."""
    made_of = [
        settings_of(model, benchmark),
        scored_by(RECIPE, benchmark),
        VARIANTS[benchmark],
    ]
    return f"{RESULTS}/eval/{model}/{benchmark}-{short_hash(made_of)}"


@cache
def settings_of_diagnosis(benchmark):
    """The settings that the main model is diagnosed with: those of its classifiers."""
    own = resolve_settings(MAIN.model_recipe, benchmark)
    return EvaluationSettings.of_classifiers(own).as_dict()


@cache
def diagnosis(benchmark):
    """The folder of the main model's diagnosis, named by what it depends on."""
    made_of = [
        settings_of_diagnosis(benchmark),
        scored_by(RECIPE, benchmark),
        VARIANTS[benchmark],
        RECIPE.diagnosis.images,
    ]
    folder = f"{benchmark}-{short_hash(made_of)}"
    return f"{RESULTS}/diagnosis/{MAIN_MODEL}/{folder}"


def of_every_benchmark(*files):
    """Files of the main model's evaluation, for every benchmark."""
    return [
        f"{evaluation(MAIN_MODEL, name)}/{file}" for file in files for name in EVALUATED
    ]


def plan_of_grid(grid, every_seed):
    """The rows of a grid's table, each with the file of its numbers."""
    rows = [row for row in ROWS[grid] if every_seed or row["seed"] == RECIPE.seed]
    where = lambda row: f"{evaluation(row['model'], row['benchmark'])}/evaluation.json"
    return [{**row, "evaluation": where(row)} for row in rows]


DIAGNOSED = {name: f"{diagnosis(name)}/diagnosis.json" for name in EVALUATED}
# Those that figures, report and MLflow show.
DIAGNOSES = list(DIAGNOSED.values()) if RECIPE.diagnosis.enabled else []
# The names of all evaluations that any target may ask for.
EVALUATIONS = {
    Path(evaluation(model, name)).name for model in MODELS for name in EVALUATED
}
# Table of a grid, with every seed or the recipe's own alone -> its plan, and the plan as an input.
PLANS = {
    f"{seeds}{grid}": plan_of_grid(grid, bool(seeds))
    for grid in GRIDS_FOR_RECIPE
    for seeds in ("", "every_seed/")
}
PLAN_FILES = {
    table: leaf_input(f"{RECIPE_NAME}/ablations/{table}", plan)
    for table, plan in PLANS.items()
}
# Method -> benchmark -> where its predictions lie, and the folder of their scores.
GIVEN = predictions_of(RECIPE)


def of_every_given(*files):
    """Files of the scores of every method, for every benchmark that it has predictions for."""
    given = [(m, folder) for m, of in GIVEN.items() for _, folder in of.values()]
    return [
        f"{RESULTS}/predictions/{m}/{folder}/{file}"
        for file in files
        for m, folder in given
    ]


# An input of the leaves: newer than tables that came from elsewhere, such as by `dvc pull`.
RECIPE_FILE = leaf_input(
    f"{RECIPE_NAME}/recipe",
    resolved_recipe(PARAMS),
    reads=of_every_benchmark("") + of_every_given("") + list(FOLDERS.values()),
    made=Path(f"{RESULTS}/tables/recipe.json"),
)
SEARCHES = {
    name: search
    for name, search in PARAMS.searches.items()
    if search.recipe in (None, RECIPE_NAME)
}


def benchmarks_of_search(name):
    try:
        return searched_benchmarks(name, SEARCHES[name], RECIPE)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def search_file(name):
    """What a search depends on, as an input; a search that does not fit the recipe says so."""
    benchmarks = benchmarks_of_search(name)
    scored = [scored_by(RECIPE, benchmark) for benchmark in benchmarks]
    document = [SEARCHES[name].model_dump(), RECIPE.inference.model_dump(), scored]
    reads = [MAIN_MODEL, *(FOLDERS[benchmark] for benchmark in benchmarks)]
    return leaf_input(f"{RECIPE_NAME}/search/{name}", document, reads=reads)


def files_of_search(file):
    """A function of wildcards: a file of each benchmark that a search evaluates."""
    return lambda wildcards: [
        f"{FOLDERS[n]}/{file}" for n in benchmarks_of_search(wildcards.search)
    ]


def recorded(cells, grids, figures, every_seed=False, report=None):
    """A file of what there is to record in MLflow: `Results` in scan_core/tracking/runs.py."""
    rule_of = {
        "clip": "clip_weights",
        "segmenter": "train_segmenter",
        "finetuned_clip": "finetune_clip",
    }
    trainings = sorted(
        {(s, c.names[s]) for c in cells for s in rule_of if not c.imported(s)}
    )
    tables = f"{RESULTS}/ablations/every_seed" if every_seed else f"{RESULTS}/ablations"
    return handed(
        {
            "recipe": RECIPE_NAME,
            "settings": RECIPE.model_dump(),
            "manifest": f"{RESULTS}/dataset_manifest.json",
            "trainings": [
                {
                    "stage": stage,
                    "variant": variant,
                    "weights": result(stage, variant),
                    "curves": f"{STAGES}/{stage}/{variant}/metrics.jsonl",
                    "timing": f"{TIMINGS}/{rule_of[stage]}/{variant}.tsv",
                    "benchmark": None if stage == "clip" else RECIPE.datasets.train,
                }
                for stage, variant in trainings
            ],
            "grids": [
                {
                    "table": f"{tables}/{grid}.csv",
                    "figure": f"{figures}{grid}.png",
                    "every_seed": every_seed,
                }
                for grid in grids
            ],
            "report": report,
        }
    )
