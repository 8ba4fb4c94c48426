"""What is evaluated: the recipe's settings, and the grids that vary nothing but settings."""

from functools import cache

from scan_core.evaluation.settings_file import EvaluationSettings
from scan_core.params.grid import benchmarks_of, rows_of
from scan_core.params.resolution import resolve_settings

EVALUATED = list(RECIPE.inference.benchmarks)
# A benchmark's images are evaluated in shards of about so many, each a job, and merged exactly.
IMAGES_PER_SHARD = 500
# Label maps that each shard keeps, for the pictures.
KEPT_PREDICTIONS = 30
# Wildcard of a grid's table: with every seed of the grid, or only the recipe's own.
SEEDS = "(every_seed/)?"


def shard_count(wildcards):
    """Number of shards of a benchmark."""
    images = BENCHMARKS[wildcards.benchmark].images["val"] or 1
    return -(-images // IMAGES_PER_SHARD)


def shards_of(wildcards):
    """The counts of all shards of a benchmark."""
    return expand(
        f"{RESULTS}/eval/{{model}}/{{benchmark}}/shards/{{shard}}.npz",
        model=wildcards.model,
        benchmark=wildcards.benchmark,
        shard=range(shard_count(wildcards)),
    )


def own_settings(model, benchmark):
    """How a model is tested as the recipe says, whatever a grid varies at test time."""
    return resolve_settings(MODELS[model].model_recipe, benchmark)


@cache
def grid_settings(benchmark):
    """Model -> the settings that any grid tests it with on a benchmark."""
    wanted = {}
    for grid in GRIDS_FOR_RECIPE:
        if benchmark in benchmarks_of(RECIPE, GRIDS[grid]):
            for cell in CELLS[grid]:
                of_model = wanted.setdefault(cell.names["model"], {})
                settings = resolve_settings(cell.recipe, benchmark)
                of_model[settings.key] = settings
    return wanted


def settings_of(wildcards):
    """A file of all settings that a model is tested with on a benchmark, and which of them are the
    ways to classify.
    """
    own = EvaluationSettings.of_ways(own_settings(wildcards.model, wildcards.benchmark))
    of_grids = grid_settings(wildcards.benchmark).get(wildcards.model, {})
    return addressed(
        EvaluationSettings(own.ways, {**own.settings, **of_grids}).as_dict()
    )


def classes_of(wildcards):
    return BENCHMARKS[wildcards.benchmark].classes


def scored_by(benchmark):
    """Names and relations that a benchmark is scored by, so that editing them counts."""
    classes = CLASS_LISTS[benchmark]
    other = classes.predict_with
    predicted = load_class_list(other).names if other else classes.names
    return [classes.names, classes.seen, sorted(classes.parents.items()), predicted]


def shard_made_of(wildcards):
    return made_of(
        "evaluate_shard",
        f"{wildcards.model}/{wildcards.benchmark}",
        settings=settings_of(wildcards),
        scored_by=scored_by(wildcards.benchmark),
        shards=shard_count(wildcards),
    )


def evaluation_made_of(wildcards):
    return made_of(
        "evaluate",
        f"{wildcards.model}/{wildcards.benchmark}",
        scored_by=scored_by(wildcards.benchmark),
    )


def grid_made_of(wildcards):
    return made_of(
        "ablate", f"{wildcards.seeds}{wildcards.grid}", plan=plan_of_grid(wildcards)
    )


def evaluations_of_grid(wildcards):
    """The evaluations that a grid's table is made from."""
    cells = CELLS[wildcards.grid]
    models = [
        cell.names["model"]
        for cell in cells
        if wildcards.seeds or cell.seed == RECIPE.seed
    ]
    return expand(
        f"{RESULTS}/eval/{{model}}/{{benchmark}}/evaluation.json",
        model=dict.fromkeys(models),
        benchmark=benchmarks_of(RECIPE, GRIDS[wildcards.grid]),
    )


def plan_of_grid(wildcards):
    """A file of what stands where: for every row of a grid's table the evaluation, and the key of
    the settings in it.
    """
    rows = rows_of(RECIPE, GRIDS[wildcards.grid], bool(wildcards.seeds))
    return addressed(
        [
            {
                **row.as_dict(),
                "evaluation": f"{RESULTS}/eval/{row.model}/{row.benchmark}/evaluation.json",
            }
            for row in rows
        ]
    )
