"""Predictions of other models, scored beside ours."""


include: "predictions_common.smk"


rule score_predictions:
    input:
        index=f"{DATA}/benchmarks/{{benchmark}}/index.json",
        labels=f"{DATA}/benchmarks/{{benchmark}}/labels",
        verification=f"{DATA}/benchmarks/{{benchmark}}/verification.json",
        made_of=predictions_made_of,
    output:
        metrics=f"{RESULTS}/predictions/{{method}}/{{benchmark}}/metrics.json",
        per_class=f"{RESULTS}/predictions/{{method}}/{{benchmark}}/per_class.csv",
        confusion=f"{RESULTS}/predictions/{{method}}/{{benchmark}}/confusion.npz",
        made_of=f"{RESULTS}/predictions/{{method}}/{{benchmark}}/made_of.json",
    log:
        f"{LOGS}/score_predictions/{{method}}/{{benchmark}}.log",
    benchmark:
        f"{TIMINGS}/score_predictions/{{method}}/{{benchmark}}.tsv"
    wildcard_constraints:
        method=one_of(GIVEN),
        benchmark=one_of(EVALUATED),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        classes=classes_of,
        predictions=given_files,
        folder=subpath(output.metrics, parent=True),
    message:
        "Scoring the predictions of {wildcards.method} on {wildcards.benchmark}"
    shell:
        "python -m workflow_scripts.score_predictions --index {input.index:q} --classes {params.classes:q}"
        " --predictions {params.predictions:q} --method {wildcards.method:q}"
        " --benchmark {wildcards.benchmark:q} --output-folder {params.folder:q} 2> {log:q}"
        " && cp {input.made_of:q} {output.made_of:q}"
