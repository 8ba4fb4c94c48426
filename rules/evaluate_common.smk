"""What is evaluated: the recipe's settings, and the grids that vary nothing but settings."""

import json

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


def benchmarks_of_grid(grid):
    """The benchmarks that a grid is evaluated on, in the recipe's order."""
    chosen = GRIDS[grid].benchmarks or EVALUATED
    return [name for name in EVALUATED if name in chosen]


def settings_of(wildcards):
    """Label -> settings of everything that one pass over a benchmark evaluates, as JSON."""
    benchmark = wildcards.benchmark
    cell = MODELS[wildcards.model]
    chosen = test_settings(cell.recipe, benchmark)
    settings = {
        "combined": chosen,
        "in_vocabulary": {**chosen, "clip_weight": 0.0},
        "clip_only": {**chosen, "clip_weight": 1.0},
    }
    for grid in GRIDS_FOR_RECIPE:
        if needs_training(GRIDS[grid]) or benchmark not in benchmarks_of_grid(grid):
            continue
        for number, one in enumerate(CELLS[grid]):
            if one.names["model"] == wildcards.model:
                settings[f"{grid}.{number}"] = test_settings(one.recipe, benchmark)
    return json.dumps(settings, sort_keys=True)


def classes_of(wildcards):
    return BENCHMARKS[wildcards.benchmark].classes


def replace_layers(wildcards):
    return MODELS[wildcards.model].recipe.inference.replace_layers


def vocabulary(wildcards):
    """Names and relations that a benchmark is scored by, so that editing them counts."""
    classes = CLASS_LISTS[wildcards.benchmark]
    return json.dumps(
        [classes.names, sorted(classes.fathers.items()), classes.predict_with]
    )


def evaluations_of(cells, benchmarks):
    """The evaluations that a grid's table is made from."""
    models = dict.fromkeys(cell.names["model"] for cell in cells)
    return expand(
        f"{RESULTS}/eval/{{model}}/{{benchmark}}/evaluation.json",
        model=models,
        benchmark=benchmarks,
    )


def cells_of_grid(wildcards):
    """Number -> cell: those with the recipe's own seed, or every one."""
    return {
        number: cell
        for number, cell in enumerate(CELLS[wildcards.grid])
        if wildcards.seeds or cell.seed == RECIPE.seed
    }


def evaluations_of_grid(wildcards):
    cells = cells_of_grid(wildcards).values()
    return evaluations_of(cells, benchmarks_of_grid(wildcards.grid))


def plan_of_grid(wildcards):
    """What stands where: for every row of a grid's table the evaluation and the label in it."""
    grid = wildcards.grid
    rows = []
    for number, cell in cells_of_grid(wildcards).items():
        label = "combined" if needs_training(GRIDS[grid]) else f"{grid}.{number}"
        for benchmark in benchmarks_of_grid(grid):
            rows.append(
                {
                    "seed": cell.seed,
                    "benchmark": benchmark,
                    "values": dict(cell.values),
                    "model": cell.names["model"],
                    "label": label,
                }
            )
    return json.dumps(rows)
