"""One model of the segmenter and the two CLIPs."""


rule fuse_weights:
    input:
        clip=clip_of_model,
        segmenter=segmenter_of_model,
        finetuned=finetuned_of_model,
        manifest=f"{RESULTS}/dataset_manifest.json",
    output:
        f"{RESULTS}/model/{{model}}/model.safetensors",
    log:
        f"{LOGS}/fuse_weights/{{model}}.log",
    benchmark:
        f"{TIMINGS}/fuse_weights/{{model}}.tsv"
    wildcard_constraints:
        model=one_of(MODELS),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=16000,
        runtime=30,
    params:
        recipe=model_recipe,
        code=code("fuse_weights"),
    message:
        "Putting the model together ({wildcards.model})"
    shell:
        "python -m workflow_scripts.fuse_weights --recipe-part {params.recipe:q}"
        " --clip {input.clip:q} --segmenter {input.segmenter:q} --finetuned {input.finetuned:q}"
        " --manifest {input.manifest:q} --output {output:q} 2> {log:q}"
