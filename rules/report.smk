"""What a person reads: tables beside the published numbers, figures, pictures, the runs in MLflow.

Nothing depends on these leaves, and their names do not say what made them: `recipe` does, an input.
"""

from scan_core.tracking.store import target

GRID_TABLES = [f"{RESULTS}/ablations/{grid}.csv" for grid in GRIDS_OF_RECIPE]
PICTURES = [f"{RESULTS}/qualitative/{name}.png" for name in EVALUATED]
# The CLIP by its name in open_clip, by which the paper's row is chosen.
ARCHITECTURE = (
    RECIPE.clip.architecture if isinstance(RECIPE.clip.architecture, str) else "small"
)
# Name of each training of the recipe's model -> its record.
CURVES = {
    {"finetuned_clip": "clip_finetune"}.get(stage, stage): record
    for stage in ("segmenter", "finetuned_clip")
    for record in records_of_trainings([MAIN], [stage])
}
CURVES_OPTION = " --curves {params.curves:q}" if CURVES else ""
REPORTED = {
    "variant": MAIN_MODEL,
    "weights": f"{RESULTS}/release/model.safetensors",
    "evaluations": dict(zip(EVALUATED, of_every_benchmark("metrics.json"))),
    "per_class": dict(zip(EVALUATED, of_every_benchmark("per_class.csv"))),
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
        "pictures": PICTURES,
    },
    "diagnoses": DIAGNOSED if RECIPE.diagnosis.enabled else {},
}
# Record in MLflow -> its inputs, and what is recorded: everything of the recipe, or every grid with
# all its seeds.
OF_RECIPE = [MAIN, *cells_of_grids(GRIDS_OF_RECIPE, False)]
OF_GRIDS = cells_of_grids(GRIDS_FOR_RECIPE, True)
RECORDS = {
    "mlflow": (
        records_of_trainings(OF_RECIPE)
        + of_every_benchmark("metrics.json", "per_class.csv")
        + of_every_given("metrics.json")
        + [f"{RESULTS}/{leaf}" for leaf in ("tables", "figures", "release")]
        + [*GRID_TABLES, *PICTURES, *DIAGNOSES],
        recorded(
            OF_RECIPE, GRIDS_OF_RECIPE, f"{RESULTS}/figures/ablation_", report=REPORTED
        ),
    ),
    "mlflow_ablations": (
        records_of_trainings(OF_GRIDS)
        + [
            f"{RESULTS}/ablations/every_seed/{g}.{kind}"
            for g in GRIDS_FOR_RECIPE
            for kind in ("csv", "png")
        ],
        recorded(
            OF_GRIDS,
            GRIDS_FOR_RECIPE,
            f"{RESULTS}/ablations/every_seed/",
            every_seed=True,
        ),
    ),
}


rule tables:
    input:
        recipe=RECIPE_FILE,
        metrics=of_every_benchmark("metrics.json"),
        given=of_every_given("metrics.json"),
        grids=GRID_TABLES,
    output:
        folder=report(
            directory(f"{RESULTS}/tables"),
            patterns=["{table}.html"],
            caption="../docs/report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        metrics=directory(f"{RESULTS}/metrics"),
    log:
        f"{LOGS}/tables.log",
    benchmark:
        f"{TIMINGS}/tables.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        architecture=ARCHITECTURE,
    message:
        "Writing the tables"
    shell:
        "python -m workflow_scripts.tables --evaluation {input.metrics:q} --ablation {input.grids:q}"
        " --given {input.given:q}"
        " --recipe-file {input.recipe:q} --architecture {params.architecture:q}"
        " --output-folder {output.folder:q} --metrics-folder {output.metrics:q} 2> {log:q}"
        f"{of_leaf('tables')}"


rule figures:
    input:
        recipe=RECIPE_FILE,
        metrics=of_every_benchmark("metrics.json"),
        of_classes=of_every_benchmark("per_class.csv", "counts.npz"),
        given=of_every_given("metrics.json"),
        of_given_classes=of_every_given("per_class.csv"),
        grids=GRID_TABLES,
        diagnoses=DIAGNOSES,
        curves=list(CURVES.values()),
    output:
        report(
            directory(f"{RESULTS}/figures"),
            patterns=["{figure}.png"],
            caption="../docs/report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
    log:
        f"{LOGS}/figures.log",
    benchmark:
        f"{TIMINGS}/figures.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        curves=[word for pair in CURVES.items() for word in pair],
    message:
        "Drawing the figures"
    shell:
        "python -m workflow_scripts.figures --evaluation {input.metrics:q}"
        " --ablation {input.grids:q} --given {input.given:q}"
        " --diagnosis {input.diagnoses:q}"
        f"{CURVES_OPTION}"
        " --output-folder {output:q} 2> {log:q}"
        f"{of_leaf('figures')}"


rule qualitative:
    input:
        recipe=RECIPE_FILE,
        index=lambda wildcards: f"{FOLDERS[wildcards.picture]}/index.json",
        # Made together with the counts, whose content counts.
        predictions=lambda wildcards: ancient(
            f"{evaluation(MAIN_MODEL, wildcards.picture)}/predictions/0"
        ),
        counts=lambda wildcards: f"{evaluation(MAIN_MODEL, wildcards.picture)}/shards/0.npz",
    output:
        report(
            f"{RESULTS}/qualitative/{{picture}}.png",
            caption="../docs/report/qualitative.rst",
            category="Pictures",
            labels={"benchmark": "{picture}"},
        ),
    log:
        f"{LOGS}/qualitative/{{picture}}.log",
    benchmark:
        f"{TIMINGS}/qualitative/{{picture}}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        classes=lambda wildcards: BENCHMARKS[wildcards.picture].classes,
    message:
        "Pictures of {wildcards.picture}"
    shell:
        "python -m workflow_scripts.qualitative --index {input.index:q} --classes {params.classes:q}"
        " --predictions {input.predictions:q} --output {output:q} 2> {log:q}"
        f"{of_leaf('qualitative')}"


rule report_page:
    input:
        recipe=RECIPE_FILE,
        metrics=of_every_benchmark("metrics.json"),
        given=of_every_given("metrics.json"),
        grids=GRID_TABLES,
        diagnoses=DIAGNOSES,
        figures=f"{RESULTS}/figures",
        pictures=PICTURES,
        sheets=[f"{FOLDERS[name]}/sheet.png" for name in USED],
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report_page.log",
    benchmark:
        f"{TIMINGS}/report_page.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        architecture=ARCHITECTURE,
        timings=TIMINGS,
    message:
        "Writing the report"
    shell:
        "python -m workflow_scripts.report_page --evaluation {input.metrics:q}"
        " --ablation {input.grids:q} --given {input.given:q} --recipe-file {input.recipe:q}"
        " --architecture {params.architecture:q} --figures {input.figures:q}"
        " --diagnosis {input.diagnoses:q}"
        " --pictures {input.pictures:q} --sheets {input.sheets:q} --timings {params.timings:q}"
        " --output {output:q} 2> {log:q}"
        f"{of_leaf('report_page')}"


rule grid_report:
    input:
        f"{RESULTS}/ablations/{{seeds}}{{grid}}.csv",
    output:
        figure=report(
            f"{RESULTS}/ablations/{{seeds}}{{grid}}.png",
            caption="../docs/report/grid.rst",
            category="Grids",
            labels={"grid": "{seeds}{grid}"},
        ),
        vector_figures=[
            f"{RESULTS}/ablations/{{seeds}}{{grid}}.pdf",
            f"{RESULTS}/ablations/{{seeds}}{{grid}}.svg",
        ],
        tables=[
            f"{RESULTS}/ablations/{{seeds}}{{grid}}.md",
            f"{RESULTS}/ablations/{{seeds}}{{grid}}.tex",
        ],
    log:
        f"{LOGS}/grid_report/{{seeds}}{{grid}}.log",
    benchmark:
        f"{TIMINGS}/grid_report/{{seeds}}{{grid}}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        stem=subpath(output.figure, strip_suffix=".png"),
    message:
        "Presenting the grid {wildcards.grid}"
    shell:
        "python -m workflow_scripts.grid_report --grid {input:q} --output {params.stem:q} 2> {log:q}"
        f"{of_leaf('grid_report')}"


rule release:
    input:
        recipe=RECIPE_FILE,
        model=result("model", MAIN_MODEL),
        manifest=f"{RESULTS}/dataset_manifest.json",
        metrics=of_every_benchmark("metrics.json"),
    output:
        directory(f"{RESULTS}/release"),
    log:
        f"{LOGS}/release.log",
    benchmark:
        f"{TIMINGS}/release.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    message:
        "Putting the release together"
    shell:
        "python -m workflow_scripts.release --model {input.model:q} --manifest {input.manifest:q}"
        " --recipe-file {input.recipe:q} --evaluation {input.metrics:q} --output-folder {output:q} 2> {log:q}"
        f"{of_leaf('release')}"


rule mlflow_sync:
    input:
        recipe=RECIPE_FILE,
        manifest=f"{RESULTS}/dataset_manifest.json",
        recorded=lambda wildcards: RECORDS[wildcards.record][0],
    output:
        f"{RESULTS}/{{record}}.json",
    log:
        f"{LOGS}/mlflow_sync.{{record}}.log",
    benchmark:
        f"{TIMINGS}/mlflow_sync/{{record}}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        results=lambda wildcards: RECORDS[wildcards.record][1],
        store=target(),
    message:
        "Recording the runs in MLflow ({wildcards.record})"
    shell:
        "python -m workflow_scripts.mlflow_sync --results {params.results:q} --output {output:q}"
        " 2> {log:q}"
        f"{of_leaf('mlflow_sync')}"


# What a recipe takes, before it is run.
rule plan:
    log:
        f"{LOGS}/plan.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        # As it is to be run: the frozen file with what the command line put over it.
        parameters=handed(PARAMS.model_dump()),
        snakefile=workflow.main_snakefile,
        profile=f"{PROJECT}/slurm/profile.yaml",
    message:
        f"What the recipe {RECIPE_NAME} takes"
    shell:
        "python -m workflow_scripts.plan --params {params.parameters:q}"
        " --snakefile {params.snakefile:q} --profile {params.profile:q} 2> {log:q}"
