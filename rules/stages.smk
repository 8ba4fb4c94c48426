"""From benchmarks to a model: CLIP, segmenter, pairs, fine-tuned CLIP, and all of them in one file.

Each result lies in a folder that is named by what made it; see `scan_core/params/grid.py`.
"""


rule clip_weights:
    output:
        clip=f"{STAGES}/clip/{{clip}}/clip.safetensors",
        metrics=f"{STAGES}/clip/{{clip}}/metrics.jsonl",
    log:
        f"{LOGS}/clip_weights/{{clip}}.log",
    benchmark:
        f"{TIMINGS}/clip_weights/{{clip}}.tsv"
    # A download, like those of archives, runs where Snakemake runs.
    localrule: CLIP_IS_DOWNLOADED
    threads: TRAINING_THREADS
    resources:
        **TRACKED,
        **ONE_GPU,
        mem_mb=16000,
        runtime=60,
    params:
        recipe=part_file,
        work=subpath(output.clip, parent=True),
    message:
        "Obtaining CLIP ({wildcards.clip})"
    shell:
        "{resources.launcher} python -m workflow_scripts.clip_weights --recipe-part {params.recipe:q}"
        " --work {params.work:q}/work --output {output.clip:q} --metrics {output.metrics:q}"
        " --workers {threads} --run {resources.experiment:q}/clip/{wildcards.clip:q}"
        f" --code {code('clip_weights')} 2> {{log:q}}"


# Weights from a file, in place of those that a stage would make. The name of the result has the
# file's content; where the file lies does not count.
rule import_weights:
    output:
        f"{STAGES}/{{imported}}.safetensors",
    log:
        f"{LOGS}/import_weights/{{imported}}.log",
    benchmark:
        f"{TIMINGS}/import_weights/{{imported}}.tsv"
    resources:
        weights=imported_from,
        mem_mb=16000,
        runtime=30,
    params:
        recipe=part_file,
        stage=lambda wildcards: wildcards.imported.partition("/")[0],
    message:
        "Importing weights from {resources.weights} ({wildcards.imported})"
    shell:
        "python -m workflow_scripts.import_weights --stage {params.stage:q}"
        " --recipe-part {params.recipe:q} --checkpoint {resources.weights:q} --output {output:q}"
        f" --code {code('import_weights')} 2> {{log:q}}"


rule train_segmenter:
    input:
        clip=made_by("clip"),
        index=f"{TRAINING}/index.json",
        # The index has the digest of every label map: the time of the folder does not count.
        labels=ancient(f"{TRAINING}/labels"),
        verification=f"{TRAINING}/verification.json",
        backbone=backbone_file,
    output:
        segmenter=f"{STAGES}/segmenter/{{segmenter}}/segmenter.safetensors",
        metrics=f"{STAGES}/segmenter/{{segmenter}}/metrics.jsonl",
    log:
        f"{LOGS}/train_segmenter/{{segmenter}}.log",
    benchmark:
        f"{TIMINGS}/train_segmenter/{{segmenter}}.tsv"
    threads: TRAINING_THREADS
    resources:
        **TRAINING_PROCESSES,
        # No parameter: the content of the file is in the variant's name, its place does not count.
        initial=lambda wildcards: segmenter_recipe(wildcards).initial_weights,
        mem_mb=64000,
        runtime=4320,
    params:
        recipe=part_file,
        backbone=lambda _, input: ["--backbone", str(input.backbone)] if input.backbone else [],
        work=subpath(output.segmenter, parent=True),
    message:
        "Training the segmenter ({wildcards.segmenter})"
    shell:
        "{resources.launcher} python -m workflow_scripts.train_segmenter --recipe-part {params.recipe:q}"
        " --clip {input.clip:q} {params.backbone:q} --index {input.index:q}"
        " --devices {resources.devices:q} --nodes {resources.nodes:q} --workers {resources.workers:q}"
        " --micro-batches {resources.micro_batches:q} --initial-weights {resources.initial:q}"
        " --work {params.work:q}/work --output {output.segmenter:q} --metrics {output.metrics:q}"
        " --run {resources.experiment:q}/segmenter/{wildcards.segmenter:q}"
        f" --code {code('train_segmenter')} 2> {{log:q}}"


rule mine_shard:
    input:
        clip=made_by("clip"),
        segmenter=made_by("segmenter", "miner"),
        index=f"{TRAINING}/index.json",
        # What made the images that are mined, and their captions. Those of one's own nothing makes,
        # so they must be there before anything starts.
        raw=records_of([RECIPE.datasets.train], trains=True, mines=True),
        captions=ancient(CAPTIONS) if OWN_CAPTIONS else [],
    output:
        f"{STAGES}/pairs/{{pairs}}/shards/{{shard}}.jsonl",
    log:
        f"{LOGS}/mine_shard/{{pairs}}.{{shard}}.log",
    benchmark:
        f"{TIMINGS}/mine_shard/{{pairs}}.{{shard}}.tsv"
    threads: TRAINING_THREADS
    resources:
        **ONE_GPU,
        mem_mb=24000,
        runtime=1440,
    params:
        recipe=part_file,
        captions=CAPTIONS or CLASS_NAMES,
        shards=mining_shards,
    message:
        "Mining mask-noun pairs ({wildcards.pairs}), shard {wildcards.shard}"
    shell:
        "{resources.launcher} python -m workflow_scripts.mine_shard --recipe-part {params.recipe:q}"
        " --clip {input.clip:q} --segmenter {input.segmenter:q} --index {input.index:q}"
        " --captions {params.captions:q} --shard {wildcards.shard:q} --shards {params.shards:q}"
        f" --workers {{threads}} --output {{output:q}}{end_of('mine_shard')}"


rule mine_mask_text_pairs:
    input:
        lambda wildcards: [
            f"{STAGES}/pairs/{wildcards.pairs}/shards/{shard}.jsonl"
            for shard in range(mining_shards(wildcards))
        ],
    output:
        pairs=f"{STAGES}/pairs/{{pairs}}/pairs.jsonl",
        statistics=f"{STAGES}/pairs/{{pairs}}/statistics.json",
    log:
        f"{LOGS}/mine_mask_text_pairs/{{pairs}}.log",
    benchmark:
        f"{TIMINGS}/mine_mask_text_pairs/{{pairs}}.tsv"
    # Files are put one behind the other.
    localrule: True
    message:
        "Merging mask-noun pairs ({wildcards.pairs})"
    shell:
        "python -m workflow_scripts.mine_mask_text_pairs --shards {input:q}"
        " --output {output.pairs:q} --statistics {output.statistics:q}"
        f" --code {code('mine_shard')}{end_of('mine_mask_text_pairs')}"


rule finetune_clip:
    input:
        clip=made_by("clip"),
        pairs=made_by("pairs"),
        index=f"{TRAINING}/index.json",
    output:
        clip=f"{STAGES}/finetuned_clip/{{finetuned_clip}}/clip.safetensors",
        metrics=f"{STAGES}/finetuned_clip/{{finetuned_clip}}/metrics.jsonl",
    log:
        f"{LOGS}/finetune_clip/{{finetuned_clip}}.log",
    benchmark:
        f"{TIMINGS}/finetune_clip/{{finetuned_clip}}.tsv"
    threads: TRAINING_THREADS
    resources:
        **TRAINING_PROCESSES,
        mem_mb=32000,
        runtime=1440,
    params:
        recipe=part_file,
        work=subpath(output.clip, parent=True),
    message:
        "Fine-tuning CLIP with masks ({wildcards.finetuned_clip})"
    shell:
        "{resources.launcher} python -m workflow_scripts.finetune_clip --recipe-part {params.recipe:q}"
        " --clip {input.clip:q} --pairs {input.pairs:q} --index {input.index:q}"
        " --devices {resources.devices:q} --nodes {resources.nodes:q} --workers {resources.workers:q}"
        " --work {params.work:q}/work --output {output.clip:q} --metrics {output.metrics:q}"
        " --run {resources.experiment:q}/finetuned_clip/{wildcards.finetuned_clip:q}"
        f" --code {code('finetune_clip')} 2> {{log:q}}"


rule fuse_weights:
    input:
        clip=made_by("clip"),
        segmenter=made_by("segmenter"),
        finetuned=made_by("finetuned_clip"),
        index=lambda w: f"{TRAINING}/index.json" if MODELS[w.model].recipe.trains else [],
    output:
        f"{STAGES}/model/{{model}}/model.safetensors",
    log:
        f"{LOGS}/fuse_weights/{{model}}.log",
    benchmark:
        f"{TIMINGS}/fuse_weights/{{model}}.tsv"
    resources:
        mem_mb=16000,
        runtime=30,
    params:
        recipe=part_file,
        index=lambda _, input: ["--index", str(input.index)] if input.index else [],
    message:
        "Putting the model together ({wildcards.model})"
    shell:
        "python -m workflow_scripts.fuse_weights --recipe-part {params.recipe:q}"
        " --clip {input.clip:q} --segmenter {input.segmenter:q} --finetuned {input.finetuned:q}"
        " {params.index:q} --output {output:q}"
        f" --code {code('fuse_weights')} 2> {{log:q}}"


# The weights that come with the package, from a training: `make weights`.
rule package_clip:
    input:
        result("clip", MAIN.names["clip"]),
    output:
        clip=f"{RESULTS}/packaged/{{name}}.safetensors",
        card=f"{RESULTS}/packaged/{{name}}.md",
    log:
        f"{LOGS}/package_clip/{{name}}.log",
    benchmark:
        f"{TIMINGS}/package_clip/{{name}}.tsv"
    message:
        "Packing {wildcards.name}"
    shell:
        "python -m workflow_scripts.package_clip --clip {input:q} --output {output.clip:q}"
        " --card {output.card:q} 2> {log:q}"
