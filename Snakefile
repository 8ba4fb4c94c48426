"""SCAN, from raw data to the tables. What to run is described in params.yaml."""

from snakemake.utils import min_version

min_version("9.19")


include: "rules/common.smk"
include: "rules/datasets.smk"


rule all:
    default_target: True
    input:
        rules.datasets.input,
    message:
        f"Everything of the recipe {RECIPE_NAME} is made"
