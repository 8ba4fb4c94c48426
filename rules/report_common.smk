"""What the report is made from."""

MAIN_MODEL = MAIN.names["model"]


def of_every_benchmark(file):
    """One file of the main model's evaluation, for every benchmark."""
    return expand(
        f"{RESULTS}/eval/{MAIN_MODEL}/{{benchmark}}/{file}", benchmark=EVALUATED
    )


def grid_tables(wildcards):
    return expand(f"{RESULTS}/ablations/{{grid}}.csv", grid=GRIDS_OF_RECIPE)


def architecture_name():
    """The CLIP by its name in open_clip, by which the paper's row is chosen."""
    architecture = RECIPE.clip.architecture
    return architecture if isinstance(architecture, str) else "small"
