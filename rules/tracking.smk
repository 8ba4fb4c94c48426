"""Every run in MLflow: the last leaf, which nothing depends on."""


include: "tracking_common.smk"


rule mlflow_sync:
    input:
        manifest=f"{RESULTS}/dataset_manifest.json",
        trainings=records_of_trainings([MAIN, *cells_of_grids(GRIDS_OF_RECIPE, False)]),
        release=rules.release.output,
        evaluations=of_every_benchmark("metrics.json"),
        per_class=of_every_benchmark("per_class.csv"),
        given=of_every_given("metrics.json"),
        given_per_class=of_every_given("per_class.csv"),
        grids=grid_tables,
        tables=f"{RESULTS}/tables",
        figures=f"{RESULTS}/figures",
        pictures=expand(f"{RESULTS}/qualitative/{{benchmark}}.png", benchmark=EVALUATED),
    output:
        f"{RESULTS}/mlflow.json",
    log:
        f"{LOGS}/mlflow_sync.log",
    benchmark:
        f"{TIMINGS}/mlflow_sync.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        results=recorded(
            [MAIN, *cells_of_grids(GRIDS_OF_RECIPE, False)],
            [
                {
                    "table": f"{RESULTS}/ablations/{grid}.csv",
                    "figure": f"{RESULTS}/figures/ablation_{grid}.png",
                    "every_seed": False,
                }
                for grid in GRIDS_OF_RECIPE
            ],
            recorded_report(),
        ),
        store=target(),
        code=code("mlflow_sync"),
    message:
        "Recording the runs in MLflow"
    shell:
        "python -m workflow_scripts.mlflow_sync --results {params.results:q} --output {output:q}"
        " 2> {log:q}"


use rule mlflow_sync as mlflow_sync_ablations with:
    input:
        manifest=f"{RESULTS}/dataset_manifest.json",
        trainings=records_of_trainings(cells_of_grids(GRIDS_FOR_RECIPE, True)),
        grids=expand(
            f"{RESULTS}/ablations/every_seed/{{grid}}.{{kind}}",
            grid=GRIDS_FOR_RECIPE,
            kind=["csv", "png"],
        ),
    output:
        f"{RESULTS}/mlflow_ablations.json",
    log:
        f"{LOGS}/mlflow_sync_ablations.log",
    benchmark:
        f"{TIMINGS}/mlflow_sync_ablations.tsv"
    params:
        results=recorded(
            cells_of_grids(GRIDS_FOR_RECIPE, True),
            [
                {
                    "table": f"{RESULTS}/ablations/every_seed/{grid}.csv",
                    "figure": f"{RESULTS}/ablations/every_seed/{grid}.png",
                    "every_seed": True,
                }
                for grid in GRIDS_FOR_RECIPE
            ],
        ),
        store=target(),
        code=code("mlflow_sync"),
    message:
        "Recording the runs of every grid and seed in MLflow"
