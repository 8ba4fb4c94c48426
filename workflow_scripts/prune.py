"""List the variants that params.yaml does not use any more, with their sizes, and delete them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from scan_core.errors import InputError
from scan_core.params.command_line import run
from scan_core.params.reading import read_params, validate

_VARIANT = re.compile(r".+-[0-9a-f]{8}")


def prune(*, yes: bool = False) -> None:
    """List the variants that params.yaml does not use any more, with their sizes, and delete them.

    What is used is what Snakemake lists for every recipe, with all its grids and searches.

    Args:
        yes: delete what is listed.
    """
    params = validate(read_params(Path("params.yaml")))
    made = [path for recipe in params.recipes for path in _outputs(recipe)]
    used = {*made, *(folder for path in made for folder in path.parents)}
    places = {*Path("results").glob("stages/*/*"), *Path("results").glob("*/predictions/*/*")}
    places |= {*Path("results").glob("*/eval/*"), *Path("results").glob("*/eval/*/*")}
    for root in {Path(recipe.datasets.root) for recipe in params.recipes.values()}:
        places |= {*root.glob("benchmarks/*"), *root.glob("raw/*")}
    unused = [path for path in places if _VARIANT.fullmatch(path.name) and path not in used]
    unused = [path for path in unused if not set(path.parents) & set(unused)]
    sizes = {path: sum(f.lstat().st_size for f in path.rglob("*")) for path in sorted(unused)}
    for path, size in sizes.items():
        print(f"{size / 1e6:10,.1f} MB  {path}")
        if yes:
            shutil.rmtree(path)
    what = "deleted" if yes else "unused; `make prune YES=--yes` deletes them"
    print(f"{sum(sizes.values()) / 1e6:10,.1f} MB  in {len(sizes)} folders: {what}")


def _outputs(recipe: str) -> list[Path]:
    """What Snakemake makes of a recipe."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--summary"]
    command += ["--config", f"recipe={recipe}", "--", "all", "ablations", "searches"]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise InputError(f"what the recipe {recipe} uses is not known: {ran.stderr.strip()}")
    return [Path(line.split("\t")[0]) for line in ran.stdout.splitlines()[1:]]


if __name__ == "__main__":
    run(prune)
