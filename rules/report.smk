"""What a person reads: tables beside the published numbers, figures, pictures."""


include: "report_common.smk"


rule tables:
    input:
        metrics=of_every_benchmark("metrics.json"),
        grids=grid_tables,
    output:
        folder=report(
            directory(f"{RESULTS}/tables"),
            patterns=["{table}.md"],
            caption="../docs/report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        metrics=f"{RESULTS}/metrics.json",
    log:
        f"{LOGS}/tables.log",
    benchmark:
        f"{TIMINGS}/tables.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        recipe=RECIPE_NAME,
        architecture=architecture_name(),
        code=code("scan_core/reporting/*.py", "scan_core/reporting/*.csv"),
    message:
        "Writing the tables"
    shell:
        "python -m workflow_scripts.tables --evaluation {input.metrics} --ablation {input.grids}"
        " --recipe {params.recipe} --architecture {params.architecture}"
        " --output-folder {output.folder} --metrics-json {output.metrics} 2> {log}"


rule figures:
    input:
        metrics=of_every_benchmark("metrics.json"),
        per_class=of_every_benchmark("per_class.csv"),
        confusion=of_every_benchmark("confusion.npz"),
        grids=grid_tables,
        segmenter=f"{RESULTS}/segmenter/{MAIN.names['segmenter']}/metrics.jsonl",
        finetuned=f"{RESULTS}/finetuned_clip/{MAIN.names['finetuned']}/metrics.jsonl",
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
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        code=code("scan_core/reporting/*.py"),
    message:
        "Drawing the figures"
    shell:
        "python -m workflow_scripts.figures --evaluation {input.metrics}"
        " --per-class {input.per_class} --confusion {input.confusion} --ablation {input.grids}"
        " --curves segmenter={input.segmenter} clip_finetune={input.finetuned}"
        " --output-folder {output} 2> {log}"


rule ablation_report:
    input:
        grids=expand(
            f"{RESULTS}/ablations/every_seed/{{grid}}.csv", grid=GRIDS_FOR_RECIPE
        ),
    output:
        tables=report(
            directory(f"{RESULTS}/ablations/every_seed/tables"),
            patterns=["{table}.md"],
            caption="../docs/report/table.rst",
            category="Ablations over seeds",
            labels={"table": "{table}"},
        ),
        figures=report(
            directory(f"{RESULTS}/ablations/every_seed/figures"),
            patterns=["{figure}.png"],
            caption="../docs/report/figure.rst",
            category="Ablations over seeds",
            labels={"figure": "{figure}"},
        ),
    log:
        f"{LOGS}/ablation_report.log",
    benchmark:
        f"{TIMINGS}/ablation_report.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        code=code("scan_core/reporting/*.py"),
    message:
        "Tables and figures of the grids, over all seeds"
    shell:
        "python -m workflow_scripts.ablation_report --ablation {input.grids}"
        " --tables {output.tables} --figures {output.figures} 2> {log}"


rule qualitative:
    input:
        index=f"{DATA}/benchmarks/{{benchmark}}/index.json",
        predictions=f"{RESULTS}/eval/{MAIN_MODEL}/{{benchmark}}/predictions/0",
    output:
        report(
            f"{RESULTS}/qualitative/{{benchmark}}.png",
            caption="../docs/report/qualitative.rst",
            category="Pictures",
            labels={"benchmark": "{benchmark}"},
        ),
    log:
        f"{LOGS}/qualitative/{{benchmark}}.log",
    benchmark:
        f"{TIMINGS}/qualitative/{{benchmark}}.tsv"
    wildcard_constraints:
        benchmark=one_of(EVALUATED),
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        classes=classes_of,
        code=code("scan_core/reporting/*.py"),
    message:
        "Pictures of {wildcards.benchmark}"
    shell:
        "python -m workflow_scripts.qualitative --index {input.index} --classes {params.classes}"
        " --predictions {input.predictions} --images 6 --output {output} 2> {log}"
