"""What a person reads: tables beside the published numbers, figures, pictures, the runs in MLflow.

Nothing depends on these leaves, and their names do not say what made them: `recipe` does, an input.
"""

from scan_core.tracking.store import target

PICTURES = [f"{RESULTS}/qualitative/{name}.png" for name in EVALUATED]
# What tables, figures and the report page read, and the options by which their scripts are told.
NUMBERS = {
    "recipe": RECIPE_FILE,
    "metrics": of_every_benchmark("metrics.json"),
    "given": of_every_given("metrics.json"),
    "grids": GRID_TABLES,
}
READ = (
    "--recipe-file {input.recipe:q} --evaluation {input.metrics:q} --given {input.given:q}"
    " --ablation {input.grids:q}"
)


rule tables:
    input:
        **NUMBERS,
    output:
        folder=shown(directory(f"{RESULTS}/tables"), "Tables", "{table}.html", table="{table}"),
        metrics=directory(f"{RESULTS}/metrics"),
    log:
        f"{LOGS}/tables.log",
    benchmark:
        f"{TIMINGS}/tables.tsv"
    localrule: True
    message:
        "Writing the tables"
    shell:
        f"python -m workflow_scripts.tables {READ} --output-folder {{output.folder:q}}"
        f" --metrics-folder {{output.metrics:q}}{end_of('tables', leaf=True)}"


rule figures:
    input:
        **NUMBERS,
        of_classes=of_every_benchmark("per_class.csv", "counts.npz"),
        of_given_classes=of_every_given("per_class.csv"),
        diagnoses=DIAGNOSES,
        curves=[f"{STAGES}/{s}/{v}/metrics.jsonl" for s, v in trainings_of([MAIN]) if s != "clip"],
    output:
        shown(directory(f"{RESULTS}/figures"), "Figures", "{figure}.png", figure="{figure}"),
    log:
        f"{LOGS}/figures.log",
    benchmark:
        f"{TIMINGS}/figures.tsv"
    localrule: True
    message:
        "Drawing the figures"
    shell:
        f"python -m workflow_scripts.figures {READ} --diagnosis {{input.diagnoses:q}}"
        f" --curves {{input.curves:q}} --output-folder {{output:q}}{end_of('figures', leaf=True)}"


rule qualitative:
    input:
        recipe=RECIPE_FILE,
        index=of_data("index.json"),
        # Made together with the counts, whose content counts.
        predictions=lambda w: ancient(f"{evaluation(MAIN_MODEL, w.picture)}/predictions/0"),
        counts=lambda w: f"{evaluation(MAIN_MODEL, w.picture)}/shards/0.npz",
    output:
        shown(f"{RESULTS}/qualitative/{{picture}}.png", "Pictures", benchmark="{picture}"),
    log:
        f"{LOGS}/qualitative/{{picture}}.log",
    benchmark:
        f"{TIMINGS}/qualitative/{{picture}}.tsv"
    localrule: True
    params:
        classes=classes_of,
    message:
        "Pictures of {wildcards.picture}"
    shell:
        "python -m workflow_scripts.qualitative --index {input.index:q} --classes {params.classes:q}"
        f" --predictions {{input.predictions:q}} --output {{output:q}}{end_of('qualitative', leaf=True)}"


rule report_page:
    input:
        **NUMBERS,
        diagnoses=DIAGNOSES,
        figures=f"{RESULTS}/figures",
        pictures=PICTURES,
        sheets=files_of(USED, "sheet.png"),
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report_page.log",
    benchmark:
        f"{TIMINGS}/report_page.tsv"
    localrule: True
    params:
        timings=TIMINGS,
    message:
        "Writing the report"
    shell:
        f"python -m workflow_scripts.report_page {READ} --diagnosis {{input.diagnoses:q}}"
        " --figures {input.figures:q} --pictures {input.pictures:q}"
        f" --sheets {{input.sheets:q}} --timings {{params.timings:q}} --output {{output:q}}{end_of('report_page', leaf=True)}"


rule grid_report:
    input:
        f"{RESULTS}/ablations/{{seeds}}{{grid}}.csv",
    output:
        figure=shown(f"{RESULTS}/ablations/{{seeds}}{{grid}}.png", "Grids", grid="{seeds}{grid}"),
        others=multiext(f"{RESULTS}/ablations/{{seeds}}{{grid}}", ".pdf", ".svg", ".md", ".tex"),
    log:
        f"{LOGS}/grid_report/{{seeds}}{{grid}}.log",
    benchmark:
        f"{TIMINGS}/grid_report/{{seeds}}{{grid}}.tsv"
    localrule: True
    params:
        stem=subpath(output.figure, strip_suffix=".png"),
    message:
        "Presenting the grid {wildcards.grid}"
    shell:
        f"python -m workflow_scripts.grid_report --grid {{input:q}} --output {{params.stem:q}}{end_of('grid_report', leaf=True)}"


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
    message:
        "Putting the release together"
    shell:
        "python -m workflow_scripts.release --model {input.model:q} --manifest {input.manifest:q}"
        f" --recipe-file {{input.recipe:q}} --evaluation {{input.metrics:q}} --output-folder {{output:q}}{end_of('release', leaf=True)}"


rule mlflow_sync:
    input:
        recipe=RECIPE_FILE,
        manifest=f"{RESULTS}/dataset_manifest.json",
        recorded=files_of_record,
    output:
        f"{RESULTS}/{{record}}.json",
    log:
        f"{LOGS}/mlflow_sync.{{record}}.log",
    benchmark:
        f"{TIMINGS}/mlflow_sync/{{record}}.tsv"
    localrule: True
    params:
        results=lambda wildcards: handed(RECORDS[wildcards.record]),
        store=target(),
    message:
        "Recording the runs in MLflow ({wildcards.record})"
    shell:
        f"python -m workflow_scripts.mlflow_sync --results {{params.results:q}} --output {{output:q}}{end_of('mlflow_sync', leaf=True)}"
