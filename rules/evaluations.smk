"""What is evaluated, searched and recorded: of the recipe's model, of grids, of predictions."""

from functools import cache

from scan_core.evaluation.settings_file import EvaluationSettings
from scan_core.params.search_space import searched_benchmarks
from scan_core.params.settings import TestSettings, resolve_settings

EVALUATED = list(RECIPE.inference.benchmarks)


def folder_of(benchmark, settings, *others):
    """The folder of numbers on a benchmark, named by its classes and images and what made them."""
    made_of = [settings, scored_by(RECIPE, benchmark), VARIANTS[benchmark], *others]
    return f"{benchmark}-{short_hash(made_of)}"


def settings_of_classifiers(model, benchmark):
    """The settings that a model is tested and diagnosed with, as the recipe says."""
    own = resolve_settings(MODELS[model].model_recipe, benchmark)
    return EvaluationSettings.of_classifiers(own)


@cache
def settings_of(model, benchmark):
    """All settings that a model is tested with on a benchmark: as the recipe says, and of grids."""
    own = settings_of_classifiers(model, benchmark)
    of_grids = {
        row["key"]: TestSettings.from_dict(row["settings"])
        for row in (row for rows in ROWS.values() for row in rows)
        if (row["model"], row["benchmark"]) == (model, benchmark)
    }
    return EvaluationSettings(own.classifiers, {**own.settings, **of_grids}).as_dict()


@cache
def evaluation(model, benchmark):
    """The folder of a model's evaluation."""
    return f"{RESULTS}/eval/{model}/{folder_of(benchmark, settings_of(model, benchmark))}"


def diagnosis(benchmark):
    settings = settings_of_classifiers(MAIN_MODEL, benchmark).as_dict()
    folder = folder_of(benchmark, settings, RECIPE.diagnosis.images)
    return f"{RESULTS}/diagnosis/{MAIN_MODEL}/{folder}/diagnosis.json"


def of_every_benchmark(*files):
    """Files of the main model's evaluations."""
    return [f"{evaluation(MAIN_MODEL, name)}/{file}" for file in files for name in EVALUATED]


# The main model's diagnosis on each benchmark, and those that figures, report and MLflow show.
DIAGNOSED = {name: diagnosis(name) for name in EVALUATED}
DIAGNOSES = list(DIAGNOSED.values()) if RECIPE.diagnosis.enabled else []
# The names of all evaluations that any target may ask for.
EVALUATIONS = {Path(evaluation(model, name)).name for model in MODELS for name in EVALUATED}
# Table of a grid, with every seed or the recipe's own alone -> its rows, each with the file of its
# numbers, and the same as an input.
PLANS = {
    f"{seeds}{grid}": [
        {**row, "evaluation": f"{evaluation(row['model'], row['benchmark'])}/evaluation.json"}
        for row in ROWS[grid]
        if seeds or row["seed"] == RECIPE.seed
    ]
    for grid in ROWS
    for seeds in ("", "every_seed/")
}
PLAN_FILES = {
    table: leaf_input(f"{RECIPE_NAME}/ablations/{table}", plan) for table, plan in PLANS.items()
}
# Method -> benchmark -> where its predictions lie, and the folder of their scores.
GIVEN = predictions_of(RECIPE)


def of_every_given(*files):
    """Files of the scores of every method, for every benchmark that it has predictions for."""
    given = [(m, folder) for m, of in GIVEN.items() for _, folder in of.values()]
    return [f"{RESULTS}/predictions/{m}/{folder}/{file}" for file in files for m, folder in given]


# An input of the leaves: newer than tables that came from elsewhere, such as by `dvc pull`.
RECIPE_FILE = leaf_input(
    f"{RECIPE_NAME}/recipe",
    resolved_recipe(PARAMS),
    reads=of_every_benchmark("") + of_every_given("") + list(FOLDERS.values()),
    made=Path(f"{RESULTS}/tables/recipe.json"),
)
SEARCHES = {
    name: search for name, search in PARAMS.searches.items() if search.recipe in (None, RECIPE_NAME)
}


def benchmarks_of_search(wildcards):
    try:
        return searched_benchmarks(wildcards.search, SEARCHES[wildcards.search], RECIPE)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def search_file(wildcards):
    """What a search depends on, as an input; a search that does not fit the recipe says so."""
    name, benchmarks = wildcards.search, benchmarks_of_search(wildcards)
    scored = [scored_by(RECIPE, benchmark) for benchmark in benchmarks]
    document = [SEARCHES[name].model_dump(), RECIPE.inference.model_dump(), scored]
    reads = [MAIN_MODEL, *(FOLDERS[benchmark] for benchmark in benchmarks)]
    return leaf_input(f"{RECIPE_NAME}/search/{name}", document, reads=reads)


def files_of_search(file):
    """A function of wildcards: a file of each benchmark that a search evaluates."""
    return lambda wildcards: [f"{FOLDERS[n]}/{file}" for n in benchmarks_of_search(wildcards)]


def recorded(grids, every_seed):
    """What there is to record in MLflow of cells and grids: `Results` in scan_core/tracking/runs.py."""
    rule_of = {"clip": "clip_weights", "segmenter": "train_segmenter"}
    tables = f"{RESULTS}/ablations/{'every_seed/' if every_seed else ''}"
    figures = tables if every_seed else f"{RESULTS}/figures/ablation_"
    timing = lambda stage, v: f"{TIMINGS}/{rule_of.get(stage, 'finetune_clip')}/{v}.tsv"
    cells = [c for grid in grids for c in CELLS[grid] if every_seed or c.seed == RECIPE.seed]
    trainings = trainings_of(cells if every_seed else [MAIN, *cells])
    return {
        "recipe": RECIPE_NAME,
        "settings": RECIPE.model_dump(),
        "manifest": f"{RESULTS}/dataset_manifest.json",
        "trainings": [{"weights": result(*one), "timing": timing(*one)} for one in trainings],
        "grids": [{"table": f"{tables}{g}.csv", "figure": f"{figures}{g}.png"} for g in grids],
    }


# Record in MLflow -> what it holds: everything of the recipe, or every grid with all its seeds.
RECORDS = {
    "mlflow": {
        **recorded(RECIPE.grids, every_seed=False),
        "report": {
            "variant": MAIN_MODEL,
            "weights": f"{RESULTS}/release/model.safetensors",
            "evaluations": dict(zip(EVALUATED, of_every_benchmark("metrics.json"))),
            "predictions": {
                method: {
                    name: f"{RESULTS}/predictions/{method}/{folder}/metrics.json"
                    for name, (_, folder) in of_method.items()
                }
                for method, of_method in GIVEN.items()
            },
            "artifacts": {
                "tables": [f"{RESULTS}/tables"],
                "figures": [f"{RESULTS}/figures"],
                "pictures": [f"{RESULTS}/qualitative/{name}.png" for name in EVALUATED],
            },
            "diagnoses": DIAGNOSED if RECIPE.diagnosis.enabled else {},
        },
    },
    "mlflow_ablations": recorded(list(ROWS), every_seed=True),
}
GRID_TABLES = [grid["table"] for grid in RECORDS["mlflow"]["grids"]]


def files_of_record(wildcards):
    """What a record in MLflow is read from; leaves are folders, with the figures of grids."""
    record, folders = RECORDS[wildcards.record], ("tables", "figures", "release")
    files = [str(Path(one["weights"]).with_name("metrics.jsonl")) for one in record["trainings"]]
    files += [grid["table"] for grid in record["grids"]]
    if "report" not in record:
        return files + [grid["figure"] for grid in record["grids"]]
    files += of_every_benchmark("metrics.json", "per_class.csv") + of_every_given("metrics.json")
    pictures = record["report"]["artifacts"]["pictures"]
    return [*files, *pictures, *DIAGNOSES, *(f"{RESULTS}/{leaf}" for leaf in folders)]
