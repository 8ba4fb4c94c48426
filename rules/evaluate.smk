"""Numbers: evaluations in shards, predictions of other models, tables of the grids, searches."""

# The index has the digest of every label map: the time of their folder does not count.
VERIFIED_DATA = {
    "index": of_data("index.json"),
    "labels": ancient(of_data("labels")),
    "verification": of_data("verification.json"),
}


rule evaluate_shard:
    input:
        **VERIFIED_DATA,
        model=f"{STAGES}/model/{{model}}/model.safetensors",
    output:
        counts=f"{RESULTS}/eval/{{model}}/{{evaluation}}/shards/{{shard}}.npz",
        predictions=directory(f"{RESULTS}/eval/{{model}}/{{evaluation}}/predictions/{{shard}}"),
    log:
        f"{LOGS}/evaluate_shard/{{model}}/{{evaluation}}.{{shard}}.log",
    benchmark:
        f"{TIMINGS}/evaluate_shard/{{model}}/{{evaluation}}.{{shard}}.tsv"
    resources:
        **ONE_GPU,
        mem_mb=16000,
        runtime=720,
    params:
        settings=lambda wildcards: handed(settings_of(wildcards.model, benchmark_of(wildcards))),
        classes=classes_of,
        shards=evaluation_shards,
        cache=f"{RESULTS}/text",
        # Counts by settings: those of another grid or recipe are not counted again.
        counts=lambda w: f"{RESULTS}/eval/{w.model}/counts/{VARIANTS[benchmark_of(w)]}",
        # Label maps that each shard keeps, for the pictures.
        kept=30,
    message:
        "Evaluating {wildcards.model} on {wildcards.evaluation}, shard {wildcards.shard}"
    shell:
        "{resources.launcher} python -m workflow_scripts.evaluate_shard --model {input.model:q} --index {input.index:q}"
        " --classes {params.classes:q} --settings {params.settings:q} --shard {wildcards.shard:q}"
        " --shards {params.shards:q} --chance --predictions {output.predictions:q}"
        " --most-predictions {params.kept:q} --text-cache {params.cache:q} --workers {threads}"
        " --evaluated {params.counts:q}/{wildcards.shard:q} --output {output.counts:q}"
        f" --code {code('evaluate_shard')} 2> {{log:q}}"


rule evaluate:
    input:
        model=f"{STAGES}/model/{{model}}/model.safetensors",
        shards=lambda wildcards: [
            f"{RESULTS}/eval/{wildcards.model}/{wildcards.evaluation}/shards/{shard}.npz"
            for shard in range(evaluation_shards(wildcards))
        ],
    output:
        metrics=f"{RESULTS}/eval/{{model}}/{{evaluation}}/metrics.json",
        evaluation=f"{RESULTS}/eval/{{model}}/{{evaluation}}/evaluation.json",
        per_class=f"{RESULTS}/eval/{{model}}/{{evaluation}}/per_class.csv",
        counts=f"{RESULTS}/eval/{{model}}/{{evaluation}}/counts.npz",
        resamples=f"{RESULTS}/eval/{{model}}/{{evaluation}}/resamples.npz",
    log:
        f"{LOGS}/evaluate/{{model}}/{{evaluation}}.log",
    benchmark:
        f"{TIMINGS}/evaluate/{{model}}/{{evaluation}}.tsv"
    # A sum of small matrices.
    localrule: True
    params:
        classes=classes_of,
        recipe=RECIPE_NAME,
        benchmark=benchmark_of,
        folder=subpath(output.metrics, parent=True),
    message:
        "Merging the evaluation of {wildcards.model} on {wildcards.evaluation}"
    shell:
        "python -m workflow_scripts.evaluate --shards {input.shards:q} --classes {params.classes:q}"
        " --recipe {params.recipe:q} --variant {wildcards.model:q}"
        " --benchmark {params.benchmark:q} --output-folder {params.folder:q} --model {input.model:q}"
        f" --code evaluate_shard={code('evaluate_shard')} evaluate={code('evaluate')} 2> {{log:q}}"


rule diagnose:
    input:
        **VERIFIED_DATA,
        model=result("model", MAIN_MODEL),
    output:
        diagnosis=f"{RESULTS}/diagnosis/{MAIN_MODEL}/{{diagnosed}}/diagnosis.json",
        others=multiext(
            f"{RESULTS}/diagnosis/{MAIN_MODEL}/{{diagnosed}}/", "ladder.csv", "counts.npz"
        ),
    log:
        f"{LOGS}/diagnose/{{diagnosed}}.log",
    benchmark:
        f"{TIMINGS}/diagnose/{{diagnosed}}.tsv"
    resources:
        **ONE_GPU,
        mem_mb=16000,
        runtime=720,
    params:
        settings=lambda wildcards: handed(
            settings_of_classifiers(MAIN_MODEL, benchmark_of(wildcards)).as_dict()
        ),
        classes=classes_of,
        images=RECIPE.diagnosis.images,
        recipe=RECIPE_NAME,
        variant=MAIN_MODEL,
        cache=f"{RESULTS}/text",
        folder=subpath(output.diagnosis, parent=True),
    message:
        "Diagnosing the main model on {wildcards.diagnosed}"
    shell:
        "{resources.launcher} python -m workflow_scripts.diagnose --model {input.model:q} --index {input.index:q}"
        " --classes {params.classes:q} --settings {params.settings:q} --images {params.images:q}"
        " --recipe {params.recipe:q} --variant {params.variant:q} --output-folder {params.folder:q}"
        " --text-cache {params.cache:q} --workers {threads}"
        f" --code {code('diagnose')} 2> {{log:q}}"


rule score_predictions:
    input:
        **VERIFIED_DATA,
    output:
        metrics=f"{RESULTS}/predictions/{{method}}/{{scores}}/metrics.json",
        per_class=f"{RESULTS}/predictions/{{method}}/{{scores}}/per_class.csv",
        counts=f"{RESULTS}/predictions/{{method}}/{{scores}}/counts.npz",
    log:
        f"{LOGS}/score_predictions/{{method}}/{{scores}}.log",
    benchmark:
        f"{TIMINGS}/score_predictions/{{method}}/{{scores}}.tsv"
    params:
        classes=classes_of,
        predictions=lambda wildcards: GIVEN[wildcards.method][benchmark_of(wildcards)][0],
        folder=subpath(output.metrics, parent=True),
    message:
        "Scoring the predictions of {wildcards.method} on {wildcards.scores}"
    shell:
        "python -m workflow_scripts.score_predictions --index {input.index:q} --classes {params.classes:q}"
        " --predictions {params.predictions:q} --method {wildcards.method:q}"
        f" --output-folder {{params.folder:q}}{end_of('score_predictions')}"


rule ablate:
    input:
        evaluations=lambda wildcards: sorted(
            {row["evaluation"] for row in PLANS[f"{wildcards.seeds}{wildcards.grid}"]}
        ),
        plan=lambda wildcards: PLAN_FILES[f"{wildcards.seeds}{wildcards.grid}"],
    output:
        f"{RESULTS}/ablations/{{seeds}}{{grid}}.csv",
    log:
        f"{LOGS}/ablate/{{seeds}}{{grid}}.log",
    benchmark:
        f"{TIMINGS}/ablate/{{seeds}}{{grid}}.tsv"
    localrule: True
    message:
        "Table of the grid {wildcards.grid}"
    shell:
        "python -m workflow_scripts.ablate --grid {wildcards.grid:q} --plan {input.plan:q}"
        f" --output {{output:q}}{end_of('ablate', leaf=True)}"


rule search_settings:
    input:
        model=result("model", MAIN_MODEL),
        indexes=files_of_search("index.json"),
        verifications=files_of_search("verification.json"),
        search=search_file,
    output:
        trials=f"{RESULTS}/search/{{search}}/trials.csv",
        best=f"{RESULTS}/search/{{search}}/best.yaml",
        best_per_benchmark=f"{RESULTS}/search/{{search}}/best_per_benchmark.yaml",
        figure=shown(f"{RESULTS}/search/{{search}}/search.png", "Searches", search="{search}"),
        vector_figure=f"{RESULTS}/search/{{search}}/search.svg",
    log:
        f"{LOGS}/search_settings/{{search}}.log",
    benchmark:
        f"{TIMINGS}/search_settings/{{search}}.tsv"
    threads: 2
    resources:
        **ONE_GPU,
        mem_mb=16000,
        runtime=720,
    params:
        search=lambda wildcards: handed(SEARCHES[wildcards.search].model_dump()),
        recipe=RECIPE_NAME,
        recipe_file=handed(RECIPE.model_dump()),
        folder=subpath(output.trials, parent=True),
    message:
        "Searching settings ({wildcards.search})"
    shell:
        "{resources.launcher} python -m workflow_scripts.search_settings --search {params.search:q}"
        " --recipe {params.recipe:q} --recipe-file {params.recipe_file:q} --model {input.model:q}"
        " --indexes {input.indexes:q} --work {params.folder:q}/work --output-folder {params.folder:q}"
        f" --code {code('search_settings')} 2> {{log:q}}"
