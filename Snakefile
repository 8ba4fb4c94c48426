"""SCAN, from raw data to the tables. What to run is described in params.yaml."""

import os

from snakemake.utils import min_version

min_version("9.19")


report: "docs/report/workflow.rst"


# For `--sdm apptainer`: the image of `Containerfile`, in this folder or where a variable says.
container: os.environ.get("SCAN_CONTAINER", "scan.sif")


include: "rules/common.smk"
include: "rules/cells.smk"
include: "rules/evaluations.smk"
include: "rules/datasets.smk"
include: "rules/stages.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


wildcard_constraints:
    **{stage: one_of(variants) for stage, variants in USED_AS.items()},
    archive=one_of(ARCHIVES),
    world=one_of(Path(folder).name for folder in WORLDS.values()),
    layout=one_of(WORLDS),
    benchmark=one_of(CONVERTED),
    shard=r"\d+",
    evaluation=one_of(EVALUATIONS),
    diagnosed=one_of(Path(path).parent.name for path in DIAGNOSED.values()),
    method=one_of(GIVEN),
    scores=one_of(folder for of in GIVEN.values() for _, folder in of.values()),
    picture=one_of(EVALUATED),
    grid=one_of(ROWS),
    # Of a grid's table: with every seed of the grid, or only the recipe's own.
    seeds="(every_seed/)?",
    search=one_of(SEARCHES),
    record=one_of(RECORDS),


rule all:
    default_target: True
    input:
        rules.datasets.input,
        of_every_benchmark("metrics.json"),
        DIAGNOSES,
        GRID_TABLES,
        rules.tables.output,
        rules.figures.output,
        rules.release.output,
        PICTURES,
        rules.report_page.output,
        f"{RESULTS}/mlflow.json",
    message:
        f"Everything of the recipe {RECIPE_NAME} is made"


rule train:
    input:
        result("model", MAIN_MODEL),
    message:
        f"The model of the recipe {RECIPE_NAME} is trained"


rule diagnoses:
    input:
        DIAGNOSED.values(),
    message:
        f"The main model of the recipe {RECIPE_NAME} is diagnosed"


rule ablations:
    input:
        expand(
            f"{RESULTS}/ablations/every_seed/{{grid}}.{{kind}}",
            grid=ROWS,
            kind=["csv", "md", "png"],
        ),
        f"{RESULTS}/mlflow_ablations.json",
    message:
        f"Every grid of the recipe {RECIPE_NAME} is made, with all seeds"


rule searches:
    input:
        expand(f"{RESULTS}/search/{{search}}/best.yaml", search=SEARCHES),
    message:
        f"Every search of the recipe {RECIPE_NAME} is made"
