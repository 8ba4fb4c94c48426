"""What a recipe takes, before it is run."""


rule plan:
    log:
        f"{LOGS}/plan.log",
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        # As it is to be run: the frozen file with what the command line put over it.
        parameters=addressed(PARAMS.model_dump()),
        snakefile=workflow.main_snakefile,
        profile=f"{PROJECT}/slurm/profile.yaml",
    message:
        f"What the recipe {RECIPE_NAME} takes"
    shell:
        "python -m workflow_scripts.plan --params {params.parameters:q}"
        " --snakefile {params.snakefile:q} --profile {params.profile:q} 2> {log:q}"
