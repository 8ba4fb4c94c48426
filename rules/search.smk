"""Search of test-time settings, on splits that no result is reported on."""


include: "search_common.smk"


rule search_settings:
    input:
        model=f"{RESULTS}/model/{MAIN_MODEL}/model.safetensors",
        indexes=indexes_of_search,
        verifications=verifications_of_search,
        made_of=search_made_of,
    output:
        trials=f"{RESULTS}/search/{{search}}/trials.csv",
        best=f"{RESULTS}/search/{{search}}/best.yaml",
        best_per_benchmark=f"{RESULTS}/search/{{search}}/best_per_benchmark.yaml",
        figure=report(
            f"{RESULTS}/search/{{search}}/search.png",
            caption="../docs/report/search.rst",
            category="Searches",
            labels={"search": "{search}"},
        ),
        vector_figure=f"{RESULTS}/search/{{search}}/search.svg",
        made_of=f"{RESULTS}/search/{{search}}/made_of.json",
    log:
        f"{LOGS}/search_settings/{{search}}.log",
    benchmark:
        f"{TIMINGS}/search_settings/{{search}}.tsv"
    wildcard_constraints:
        search=one_of(SEARCHES),
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        **ONE_GPU,
        mem_mb=16000,
        runtime=720,
    params:
        search=search_file,
        recipe=RECIPE_NAME,
        recipe_file=addressed(RECIPE.model_dump()),
        benchmarks=benchmark_names,
        classes=classes_of_search,
        folder=subpath(output.trials, parent=True),
        code=code("search_settings"),
    message:
        "Searching settings ({wildcards.search})"
    shell:
        "{resources.launcher} python -m workflow_scripts.search_settings --search {params.search:q}"
        " --recipe {params.recipe:q} --recipe-file {params.recipe_file:q} --model {input.model:q}"
        " --benchmarks {params.benchmarks:q} --classes {params.classes:q} --indexes {input.indexes:q}"
        " --code {params.code:q} --work {params.folder:q}/work"
        " --output-folder {params.folder:q} 2> {log:q}"
        " && cp {input.made_of:q} {output.made_of:q}"
