"""What is recorded in MLflow, and where."""

from scan_core.tracking.store import target

# Stage of a training -> its variants among those of a cell, its weights, and its rule.
TRAININGS = {
    "clip": ("clip", "clip.safetensors", "clip_weights"),
    "segmenter": ("segmenter", "segmenter.safetensors", "train_segmenter"),
    "finetuned_clip": ("finetuned", "clip.safetensors", "finetune_clip"),
}


def cells_of_grids(grids, every_seed):
    return [
        cell
        for grid in grids
        for cell in CELLS[grid]
        if every_seed or cell.seed == RECIPE.seed
    ]


def trainings_of(cells):
    """The files of every training that cells of grids come from."""
    found = {}
    for cell in cells:
        for stage, (names, weights, rule_name) in TRAININGS.items():
            variant = cell.names[names]
            found[stage, variant] = {
                "stage": stage,
                "variant": variant,
                "weights": f"{RESULTS}/{stage}/{variant}/{weights}",
                "curves": f"{RESULTS}/{stage}/{variant}/metrics.jsonl",
                "timing": f"{TIMINGS}/{rule_name}/{variant}.tsv",
                "benchmark": None if stage == "clip" else RECIPE.datasets.train,
            }
    return list(found.values())


def records_of_trainings(cells):
    return [training["curves"] for training in trainings_of(cells)]


def recorded(cells, grids, report=None):
    """A file of what there is to record; see `Results` in `scan_core/tracking/runs.py`."""
    return addressed(
        {
            "recipe": RECIPE_NAME,
            "settings": RECIPE.model_dump(),
            "manifest": f"{RESULTS}/dataset_manifest.json",
            "trainings": trainings_of(cells),
            "grids": grids,
            "report": report,
        }
    )


def recorded_report():
    return {
        "variant": MAIN_MODEL,
        "weights": f"{RESULTS}/release/model.safetensors",
        "evaluations": dict(zip(EVALUATED, of_every_benchmark("metrics.json"))),
        "per_class": dict(zip(EVALUATED, of_every_benchmark("per_class.csv"))),
        "predictions": {
            method: {
                benchmark: f"{RESULTS}/predictions/{method}/{benchmark}/metrics.json"
                for benchmark in of_method
            }
            for method, of_method in GIVEN.items()
        },
        "artifacts": {
            "tables": [f"{RESULTS}/tables"],
            "figures": [f"{RESULTS}/figures"],
            "pictures": expand(
                f"{RESULTS}/qualitative/{{benchmark}}.png", benchmark=EVALUATED
            ),
        },
    }
