"""Evaluation: shards of every benchmark, merged; tables of the grids."""


include: "evaluate_common.smk"


rule evaluate_shard:
    input:
        model=f"{RESULTS}/model/{{model}}/model.safetensors",
        index=f"{DATA}/benchmarks/{{benchmark}}/index.json",
        labels=ancient(f"{DATA}/benchmarks/{{benchmark}}/labels"),
        verification=f"{DATA}/benchmarks/{{benchmark}}/verification.json",
        made_of=shard_made_of,
    output:
        counts=f"{RESULTS}/eval/{{model}}/{{benchmark}}/shards/{{shard}}.npz",
        predictions=directory(
            f"{RESULTS}/eval/{{model}}/{{benchmark}}/predictions/{{shard}}"
        ),
        made_of=f"{RESULTS}/eval/{{model}}/{{benchmark}}/shards/{{shard}}.made_of.json",
    log:
        f"{LOGS}/evaluate_shard/{{model}}/{{benchmark}}.{{shard}}.log",
    benchmark:
        f"{TIMINGS}/evaluate_shard/{{model}}/{{benchmark}}.{{shard}}.tsv"
    wildcard_constraints:
        model=one_of(MODELS),
        benchmark=one_of(EVALUATED),
    conda:
        ENVIRONMENT
    resources:
        **ONE_GPU,
        mem_mb=16000,
        runtime=720,
    params:
        settings=settings_of,
        classes=classes_of,
        shards=shard_count,
        cache=f"{RESULTS}/text",
        evaluated=f"{RESULTS}/eval/{{model}}/{{benchmark}}/evaluated/{{shard}}",
        kept=KEPT_PREDICTIONS,
        code=code("evaluate_shard"),
    message:
        "Evaluating {wildcards.model} on {wildcards.benchmark}, shard {wildcards.shard}"
    shell:
        "{resources.launcher} python -m workflow_scripts.evaluate_shard --model {input.model:q} --index {input.index:q}"
        " --classes {params.classes:q} --settings {params.settings:q} --shard {wildcards.shard:q}"
        " --shards {params.shards:q} --chance --predictions {output.predictions:q}"
        " --most-predictions {params.kept:q} --text-cache {params.cache:q} --workers {threads}"
        " --evaluated {params.evaluated:q} --code {params.code:q} --output {output.counts:q} 2> {log:q}"
        " && cp {input.made_of:q} {output.made_of:q}"


rule evaluate:
    input:
        shards=shards_of,
        made_of=evaluation_made_of,
    output:
        metrics=f"{RESULTS}/eval/{{model}}/{{benchmark}}/metrics.json",
        everything=f"{RESULTS}/eval/{{model}}/{{benchmark}}/evaluation.json",
        per_class=f"{RESULTS}/eval/{{model}}/{{benchmark}}/per_class.csv",
        confusion=f"{RESULTS}/eval/{{model}}/{{benchmark}}/confusion.npz",
        made_of=f"{RESULTS}/eval/{{model}}/{{benchmark}}/made_of.json",
    log:
        f"{LOGS}/evaluate/{{model}}/{{benchmark}}.log",
    benchmark:
        f"{TIMINGS}/evaluate/{{model}}/{{benchmark}}.tsv"
    wildcard_constraints:
        model=one_of(MODELS),
        benchmark=one_of(EVALUATED),
    # A sum of small matrices.
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        classes=classes_of,
        recipe=RECIPE_NAME,
    message:
        "Merging the evaluation of {wildcards.model} on {wildcards.benchmark}"
    shell:
        "python -m workflow_scripts.evaluate --shards {input.shards:q} --classes {params.classes:q}"
        " --recipe {params.recipe:q} --variant {wildcards.model:q}"
        " --benchmark {wildcards.benchmark:q} --metrics {output.metrics:q}"
        " --everything {output.everything:q} --per-class {output.per_class:q}"
        " --confusion {output.confusion:q} 2> {log:q}"
        " && cp {input.made_of:q} {output.made_of:q}"


rule ablate:
    input:
        evaluations=evaluations_of_grid,
        made_of=grid_made_of,
    output:
        made=f"{RESULTS}/ablations/{{seeds}}{{grid}}.csv",
        made_of=f"{RESULTS}/ablations/{{seeds}}{{grid}}.made_of.json",
    log:
        f"{LOGS}/ablate/{{seeds}}{{grid}}.log",
    benchmark:
        f"{TIMINGS}/ablate/{{seeds}}{{grid}}.tsv"
    wildcard_constraints:
        grid=one_of(GRIDS_FOR_RECIPE),
        seeds=SEEDS,
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=500,
        runtime=10,
    params:
        plan=plan_of_grid,
    message:
        "Table of the grid {wildcards.grid}"
    shell:
        "python -m workflow_scripts.ablate --grid {wildcards.grid:q} --plan {params.plan:q}"
        " --output {output.made:q} 2> {log:q}"
        " && cp {input.made_of:q} {output.made_of:q}"
