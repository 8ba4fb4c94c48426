"""One model of the segmenter and the two CLIPs."""


rule fuse_weights:
    input:
        clip=clip_of_model,
        segmenter=segmenter_of_model,
        finetuned=finetuned_of_model,
        manifest=f"{RESULTS}/dataset_manifest.json",
        made_of=model_made_of,
    output:
        made=f"{RESULTS}/model/{{model}}/model.safetensors",
        made_of=f"{RESULTS}/model/{{model}}/made_of.json",
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
    message:
        "Putting the model together ({wildcards.model})"
    shell:
        "python -m workflow_scripts.fuse_weights --recipe-part {params.recipe:q}"
        " --clip {input.clip:q} --segmenter {input.segmenter:q} --finetuned {input.finetuned:q}"
        " --manifest {input.manifest:q} --output {output.made:q} 2> {log:q}"
        " && cp {input.made_of:q} {output.made_of:q}"
