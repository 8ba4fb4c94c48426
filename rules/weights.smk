"""The weights that come with the package, trained again: `make weights`."""


rule packaged_clip_weights:
    output:
        clip=f"{RESULTS}/packaged/clip/clip.safetensors",
        metrics=f"{RESULTS}/packaged/clip/metrics.jsonl",
    log:
        f"{LOGS}/packaged_clip_weights.log",
    benchmark:
        f"{TIMINGS}/packaged_clip_weights.tsv"
    conda:
        ENVIRONMENT
    threads: 2  # sums over another number of threads end in other digits
    resources:
        mem_mb=16000,
        runtime=120,
    params:
        recipe=packaged_clip_recipe,
        work=subpath(output.clip, parent=True),
        # Without the packaged file itself, which this replaces.
        code=source_hash(PROJECT, "scan_core.training.clip_pretrain"),
    message:
        "Training the CLIP that comes with the package"
    shell:
        "python -m workflow_scripts.clip_weights --recipe-part {params.recipe:q}"
        " --work {params.work:q}/work --output {output.clip:q} --metrics {output.metrics:q}"
        " --workers {threads} 2> {log:q}"


rule package_clip:
    input:
        rules.packaged_clip_weights.output.clip,
    output:
        clip=f"{RESULTS}/packaged/mini_clip.safetensors",
        card=f"{RESULTS}/packaged/mini_clip.md",
    log:
        f"{LOGS}/package_clip.log",
    benchmark:
        f"{TIMINGS}/package_clip.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=8000,
        runtime=30,
    params:
        code=source_hash(PROJECT, "scan_core.training.packaged_clip"),
    message:
        "Packing the CLIP that comes with the package"
    shell:
        "python -m workflow_scripts.package_clip --clip {input:q} --output {output.clip:q}"
        " --card {output.card:q} 2> {log:q}"
