"""The segmenter: ImageNet weights of its backbone, and its training."""


rule train_segmenter:
    input:
        clip=clip_of_segmenter,
        index=TRAINING_INDEX,
        labels=TRAINING_LABELS,
        verification=f"{DATA}/benchmarks/{RECIPE.datasets.train}/verification.json",
        backbone=backbone_file,
        made_of=segmenter_made_of,
    output:
        segmenter=f"{RESULTS}/segmenter/{{segmenter}}/segmenter.safetensors",
        metrics=f"{RESULTS}/segmenter/{{segmenter}}/metrics.jsonl",
        made_of=f"{RESULTS}/segmenter/{{segmenter}}/made_of.json",
    log:
        f"{LOGS}/train_segmenter/{{segmenter}}.log",
    benchmark:
        f"{TIMINGS}/train_segmenter/{{segmenter}}.tsv"
    wildcard_constraints:
        segmenter=one_of(SEGMENTERS),
    conda:
        ENVIRONMENT
    threads: training_threads("segmenter")
    resources:
        **training_processes(),
        mem_mb=64000,
        runtime=4320,
    params:
        recipe=segmenter_recipe,
        backbone=backbone_option,
        work=subpath(output.segmenter, parent=True),
        run=f"{RECIPE_NAME}/segmenter/{{segmenter}}",
    message:
        "Training the segmenter ({wildcards.segmenter})"
    shell:
        "{resources.launcher} python -m workflow_scripts.train_segmenter --recipe-part {params.recipe:q}"
        " --clip {input.clip:q} {params.backbone:q} --index {input.index:q}"
        " --devices {resources.devices:q} --nodes {resources.nodes:q} --workers {resources.workers:q}"
        " --micro-batches {resources.micro_batches:q}"
        " --work {params.work:q}/work --output {output.segmenter:q} --metrics {output.metrics:q}"
        " --run {params.run:q} 2> {log:q}"
        " && cp {input.made_of:q} {output.made_of:q}"
