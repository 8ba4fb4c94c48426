"""SCAN, from raw data to the tables. What to run is described in params.yaml."""

from snakemake.utils import min_version

min_version("9.19")


report: "docs/report/workflow.rst"


include: "rules/common.smk"
include: "rules/datasets.smk"
include: "rules/models_common.smk"
include: "rules/clip.smk"
include: "rules/weights.smk"
include: "rules/segmenter.smk"
include: "rules/fuse.smk"
include: "rules/evaluate.smk"
include: "rules/predictions.smk"
include: "rules/report.smk"
include: "rules/search.smk"
include: "rules/plan.smk"
include: "rules/tracking.smk"
include: "rules/made_of.smk"


onsuccess:
    if workflow.is_main_process:
        sweep(Path(RESULTS), Path(DATA), STARTED)


rule all:
    default_target: True
    input:
        rules.datasets.input,
        expand(
            f"{RESULTS}/eval/{MAIN.names['model']}/{{benchmark}}/metrics.json",
            benchmark=EVALUATED,
        ),
        expand(f"{RESULTS}/ablations/{{grid}}.csv", grid=GRIDS_OF_RECIPE),
        rules.tables.output,
        rules.figures.output,
        rules.release.output,
        expand(f"{RESULTS}/qualitative/{{benchmark}}.png", benchmark=EVALUATED),
        rules.report_page.output,
        rules.mlflow_sync.output,
    message:
        f"Everything of the recipe {RECIPE_NAME} is made"


rule train:
    input:
        f"{RESULTS}/model/{MAIN.names['model']}/model.safetensors",
    message:
        f"The model of the recipe {RECIPE_NAME} is trained"


rule packaged_weights:
    input:
        rules.package_clip.output,
    message:
        "The weights that come with the package are trained again"


rule ablations:
    input:
        expand(
            f"{RESULTS}/ablations/every_seed/{{grid}}.{{kind}}",
            grid=GRIDS_FOR_RECIPE,
            kind=["csv", "md", "png"],
        ),
        rules.mlflow_sync_ablations.output,
    message:
        f"Every grid of the recipe {RECIPE_NAME} is made, with all seeds"


rule searches:
    input:
        expand(f"{RESULTS}/search/{{search}}/best.yaml", search=SEARCHES),
    message:
        f"Every search of the recipe {RECIPE_NAME} is made"
