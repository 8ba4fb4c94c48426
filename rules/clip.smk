"""CLIP: its weights, the mask-noun pairs, and its fine-tuning on them."""


rule clip_weights:
    input:
        made_of=clip_made_of,
    output:
        clip=f"{RESULTS}/clip/{{clip}}/clip.safetensors",
        metrics=f"{RESULTS}/clip/{{clip}}/metrics.jsonl",
        made_of=f"{RESULTS}/clip/{{clip}}/made_of.json",
    log:
        f"{LOGS}/clip_weights/{{clip}}.log",
    benchmark:
        f"{TIMINGS}/clip_weights/{{clip}}.tsv"
    wildcard_constraints:
        clip=one_of(CLIPS),
    # A download, like those of archives, runs where Snakemake runs.
    localrule: CLIP_IS_DOWNLOADED
    conda:
        ENVIRONMENT
    threads: training_threads("clip")
    resources:
        **ONE_GPU,
        mem_mb=16000,
        runtime=60,
    params:
        recipe=clip_recipe,
        work=subpath(output.clip, parent=True),
        run=f"{RECIPE_NAME}/clip/{{clip}}",
    message:
        "Obtaining CLIP ({wildcards.clip})"
    shell:
        "{resources.launcher} python -m workflow_scripts.clip_weights --recipe-part {params.recipe:q}"
        " --work {params.work:q}/work --output {output.clip:q} --metrics {output.metrics:q}"
        " --workers {threads} --run {params.run:q} 2> {log:q}"
        " && cp {input.made_of:q} {output.made_of:q}"


rule mine_shard:
    input:
        clip=clip_of_pairs,
        segmenter=segmenter_of_pairs,
        index=TRAINING_INDEX,
        raw=TRAINING_RECORDS,
        captions=CAPTIONS_OF_ONES_OWN,
        made_of=pairs_shard_made_of,
    output:
        made=f"{RESULTS}/pairs/{{pairs}}/shards/{{shard}}.jsonl",
        made_of=f"{RESULTS}/pairs/{{pairs}}/shards/{{shard}}.made_of.json",
    log:
        f"{LOGS}/mine_shard/{{pairs}}.{{shard}}.log",
    benchmark:
        f"{TIMINGS}/mine_shard/{{pairs}}.{{shard}}.tsv"
    wildcard_constraints:
        pairs=one_of(PAIRS),
        shard=r"\d+",
    conda:
        ENVIRONMENT
    threads: training_threads("pairs")
    resources:
        **ONE_GPU,
        mem_mb=24000,
        runtime=1440,
    params:
        recipe=pairs_recipe,
        captions=str(CAPTIONS or CLASS_NAMES),
        shards=mining_shards,
    message:
        "Mining mask-noun pairs ({wildcards.pairs}), shard {wildcards.shard}"
    shell:
        "{resources.launcher} python -m workflow_scripts.mine_shard --recipe-part {params.recipe:q}"
        " --clip {input.clip:q} --segmenter {input.segmenter:q} --index {input.index:q}"
        " --captions {params.captions:q} --shard {wildcards.shard:q} --shards {params.shards:q}"
        " --workers {threads} --output {output.made:q} 2> {log:q}"
        " && cp {input.made_of:q} {output.made_of:q}"


rule mine_mask_text_pairs:
    input:
        shards_of_pairs,
    output:
        pairs=f"{RESULTS}/pairs/{{pairs}}/pairs.jsonl",
        statistics=f"{RESULTS}/pairs/{{pairs}}/statistics.json",
    log:
        f"{LOGS}/mine_mask_text_pairs/{{pairs}}.log",
    benchmark:
        f"{TIMINGS}/mine_mask_text_pairs/{{pairs}}.tsv"
    wildcard_constraints:
        pairs=one_of(PAIRS),
    # Files are put one behind the other.
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        code=code("mine_mask_text_pairs"),
    message:
        "Merging mask-noun pairs ({wildcards.pairs})"
    shell:
        "python -m workflow_scripts.mine_mask_text_pairs --shards {input:q}"
        " --output {output.pairs:q} --statistics {output.statistics:q} 2> {log:q}"


rule finetune_clip:
    input:
        clip=clip_of_finetuned,
        pairs=pairs_of_finetuned,
        index=TRAINING_INDEX,
        made_of=finetuned_made_of,
    output:
        clip=f"{RESULTS}/finetuned_clip/{{finetuned}}/clip.safetensors",
        metrics=f"{RESULTS}/finetuned_clip/{{finetuned}}/metrics.jsonl",
        made_of=f"{RESULTS}/finetuned_clip/{{finetuned}}/made_of.json",
    log:
        f"{LOGS}/finetune_clip/{{finetuned}}.log",
    benchmark:
        f"{TIMINGS}/finetune_clip/{{finetuned}}.tsv"
    wildcard_constraints:
        finetuned=one_of(FINETUNED),
    conda:
        ENVIRONMENT
    threads: training_threads("finetuned")
    resources:
        **training_processes(),
        mem_mb=32000,
        runtime=1440,
    params:
        recipe=finetune_recipe,
        work=subpath(output.clip, parent=True),
        run=f"{RECIPE_NAME}/clip_finetune/{{finetuned}}",
    message:
        "Fine-tuning CLIP with masks ({wildcards.finetuned})"
    shell:
        "{resources.launcher} python -m workflow_scripts.finetune_clip --recipe-part {params.recipe:q}"
        " --clip {input.clip:q} --pairs {input.pairs:q} --index {input.index:q}"
        " --devices {resources.devices:q} --nodes {resources.nodes:q} --workers {resources.workers:q}"
        " --work {params.work:q}/work --output {output.clip:q} --metrics {output.metrics:q}"
        " --run {params.run:q} 2> {log:q}"
        " && cp {input.made_of:q} {output.made_of:q}"
