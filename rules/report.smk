"""What a person reads: tables beside the published numbers, figures, pictures."""


include: "report_common.smk"


rule tables:
    input:
        recipe=RECIPE_FILE,
        metrics=of_every_benchmark("metrics.json"),
        given=of_every_given("metrics.json"),
        grids=grid_tables,
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
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        architecture=architecture_name(),
        code=code("tables"),
    message:
        "Writing the tables"
    shell:
        "python -m workflow_scripts.tables --evaluation {input.metrics:q} --ablation {input.grids:q}"
        " --given {input.given:q}"
        " --recipe-file {input.recipe:q} --architecture {params.architecture:q}"
        " --output-folder {output.folder:q} --metrics-folder {output.metrics:q} 2> {log:q}"


rule figures:
    input:
        recipe=RECIPE_FILE,
        metrics=of_every_benchmark("metrics.json"),
        per_class=of_every_benchmark("per_class.csv"),
        confusion=of_every_benchmark("confusion.npz"),
        given=of_every_given("metrics.json"),
        given_per_class=of_every_given("per_class.csv"),
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
        code=code("figures"),
    message:
        "Drawing the figures"
    shell:
        "python -m workflow_scripts.figures --evaluation {input.metrics:q}"
        " --ablation {input.grids:q} --given {input.given:q}"
        " --curves segmenter {input.segmenter:q} clip_finetune {input.finetuned:q}"
        " --output-folder {output:q} 2> {log:q}"


rule qualitative:
    input:
        index=f"{DATA}/benchmarks/{{benchmark}}/index.json",
        # Made together with the counts, whose content counts.
        predictions=ancient(f"{RESULTS}/eval/{MAIN_MODEL}/{{benchmark}}/predictions/0"),
        counts=f"{RESULTS}/eval/{MAIN_MODEL}/{{benchmark}}/shards/0.npz",
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
        code=code("qualitative"),
    message:
        "Pictures of {wildcards.benchmark}"
    shell:
        "python -m workflow_scripts.qualitative --index {input.index:q} --classes {params.classes:q}"
        " --predictions {input.predictions:q} --output {output:q} 2> {log:q}"


rule report_page:
    input:
        recipe=RECIPE_FILE,
        metrics=of_every_benchmark("metrics.json"),
        given=of_every_given("metrics.json"),
        grids=grid_tables,
        figures=f"{RESULTS}/figures",
        pictures=expand(f"{RESULTS}/qualitative/{{benchmark}}.png", benchmark=EVALUATED),
        sheets=expand(f"{DATA}/benchmarks/{{benchmark}}/sheet.png", benchmark=USED),
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report_page.log",
    benchmark:
        f"{TIMINGS}/report_page.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        architecture=architecture_name(),
        timings=TIMINGS,
        code=code("report_page"),
    message:
        "Writing the report"
    shell:
        "python -m workflow_scripts.report_page --evaluation {input.metrics:q}"
        " --ablation {input.grids:q} --given {input.given:q} --recipe-file {input.recipe:q}"
        " --architecture {params.architecture:q} --figures {input.figures:q}"
        " --pictures {input.pictures:q} --sheets {input.sheets:q} --timings {params.timings:q}"
        " --output {output:q} 2> {log:q}"


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
    wildcard_constraints:
        grid=one_of(GRIDS_FOR_RECIPE),
        seeds=SEEDS,
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        stem=subpath(output.figure, strip_suffix=".png"),
        code=code("grid_report"),
    message:
        "Presenting the grid {wildcards.grid}"
    shell:
        "python -m workflow_scripts.grid_report --grid {input:q} --output {params.stem:q} 2> {log:q}"


rule release:
    input:
        recipe=RECIPE_FILE,
        model=f"{RESULTS}/model/{MAIN_MODEL}/model.safetensors",
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
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        code=code("release"),
    message:
        "Putting the release together"
    shell:
        "python -m workflow_scripts.release --model {input.model:q} --manifest {input.manifest:q}"
        " --recipe-file {input.recipe:q} --evaluation {input.metrics:q} --output-folder {output:q} 2> {log:q}"
