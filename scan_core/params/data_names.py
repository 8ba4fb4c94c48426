"""Where the data of a recipe lie: folders that are named by what made them.

What the rules make of a recipe's keys has a hash of these keys in its folder's name. Data of a
person's own are known by their content (files) or by a listing of names, sizes and times (folders).
"""

import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from scan_core.params.needed_files import RAW_FOLDERS, captions, given_predictions, raw_root
from scan_core.params.schema.recipe import Recipe
from scan_core.storage.files import file_digest, json_digest
from scan_core.vocabulary.classes import DATA_FOLDER, load_class_list

# The layout of the miniature world that each raw format is read from.
WORLD_LAYOUTS = {
    "coco_stuff": "coco",
    "ade20k_150": "ade_challenge",
    "ade20k_847": "ade_full",
    "pascal_voc": "voc2012",
    "pascal_context": "voc2010",
}
# What a run knows of a person's own files, for its jobs, whose processes read the workflow again.
_KNOWN = "SCAN_OWN_FILES"


def short_hash(value: Any) -> str:
    """8 hexadecimal digits of a JSON value."""
    return json_digest(value)[:8]


def name_of(folder: str) -> str:
    """The benchmark in the name of a folder, `<benchmark>-<hash>`."""
    return re.sub(r"-[0-9a-f]{8}$", "", folder)


def world_images(recipe: Recipe, layout: str) -> dict[str, int]:
    """The number of images in each split of one layout of the miniature world."""
    world = recipe.datasets.miniworld
    assert world is not None, "only with `datasets.source: generate`"
    train = world.training_images if layout == "coco" else world.tuning_images
    return {"train": train, "val": world.test_images}


def world_folder(recipe: Recipe, layout: str) -> str:
    """The raw root of one layout of the miniature world."""
    world = recipe.datasets.miniworld
    assert world is not None, "only with `datasets.source: generate`"
    made_of = [layout, recipe.seed, world.image_size, world_images(recipe, layout), _world_names()]
    return f"{recipe.datasets.root}/raw/{layout}-{short_hash(made_of)}"


def raw_folder(recipe: Recipe, benchmark: str) -> str:
    """The raw root that a benchmark is converted from."""
    if (own := raw_root(recipe, benchmark)) is not None:
        return str(own)
    if recipe.datasets.source == "generate":
        layout = WORLD_LAYOUTS[recipe.datasets.benchmarks[benchmark].format]
        return world_folder(recipe, layout)
    return f"{recipe.datasets.root}/raw"


def benchmark_folder(recipe: Recipe, benchmark: str) -> str:
    """The folder of a converted benchmark, `<root>/benchmarks/<name>-<hash>`."""
    one = recipe.datasets.benchmarks[benchmark]
    classes = load_class_list(one.classes)
    raw: str | None = recipe.datasets.source
    if (own := raw_root(recipe, benchmark)) is not None:
        raw = known(str(own / RAW_FOLDERS[one.format]))
    elif raw == "generate":
        raw = Path(raw_folder(recipe, benchmark)).name
    made_of = [
        *(one.format, one.images, one.split_names, raw, conversion_options(recipe, benchmark)),
        *(classes.names, classes.raw_ids, classes.built_in),
    ]
    return f"{recipe.datasets.root}/benchmarks/{benchmark}-{short_hash(made_of)}"


def conversion_options(recipe: Recipe, benchmark: str) -> list[str]:
    """Options of a benchmark's conversion that few need."""
    one = recipe.datasets.benchmarks[benchmark]
    options = []
    if one.format == "folder":
        options += ["--label-suffix", one.label_suffix]
        options += ["--image-suffix", one.image_suffix] if one.image_suffix else []
    as_released = recipe.faithful or recipe.datasets.released_label_reduction
    if as_released and one.format == "ade20k_847":
        options.append("--released-label-reduction")
    return options


def caption_file(recipe: Recipe) -> tuple[str | None, str | None]:
    """The captions of the training images and, of a person's own file, its digest.

    Captions that rules make come with the raw data, whose name says what they are.
    """
    path, is_made = captions(recipe)
    if path is not None and is_made:
        return str(Path(raw_folder(recipe, recipe.datasets.train), path)), None
    return (None, None) if path is None else (str(path), known(str(path)))


def scored_by(recipe: Recipe, benchmark: str) -> list[Any]:
    """Names and relations that a benchmark is scored by."""
    classes = load_class_list(recipe.datasets.benchmarks[benchmark].classes)
    other = classes.predict_with
    predicted = load_class_list(other).names if other else classes.names
    return [classes.names, classes.seen, sorted(classes.parents.items()), predicted]


def predictions_of(recipe: Recipe) -> dict[str, dict[str, tuple[str, str]]]:
    """Method -> benchmark -> where its predictions lie, and the name of the folder of scores."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for method, of_method in given_predictions(recipe).items():
        for name, path in of_method.items():
            data = Path(benchmark_folder(recipe, name)).name
            made_of = [data, scored_by(recipe, name), str(path), known(str(path))]
            folder = f"{name}-{short_hash(made_of)}"
            found.setdefault(method, {})[name] = (str(path), folder)
    return found


@cache
def known(path: str) -> str | None:
    """What a person's own file or folder holds, as a hash; None: it is not there.

    A run looks once: its jobs find the answer in their environment.
    """
    answers: dict[str, str | None] = json.loads(os.environ.get(_KNOWN) or "{}")
    if path not in answers:
        place = Path(path)
        is_folder = place.is_dir()
        file = file_digest(place) if place.is_file() else None
        answers[path] = json_digest(sorted(_listing(path))) if is_folder else file
        os.environ[_KNOWN] = json.dumps(answers)
    return answers[path]


def _listing(folder: str) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of change of every file below a folder; links are followed."""
    seen, waiting = set[tuple[int, int]](), [folder]
    while waiting:
        here = waiting.pop()
        about = Path(here).stat()
        if (about.st_dev, about.st_ino) in seen:
            continue  # a link to a folder above
        seen.add((about.st_dev, about.st_ino))
        with os.scandir(here) as entries:
            for entry in entries:
                try:
                    if entry.is_dir():
                        waiting.append(entry.path)
                    else:
                        of_file = entry.stat()
                        name = os.path.relpath(entry.path, folder)
                        yield name, of_file.st_size, of_file.st_mtime_ns
                except OSError:
                    continue  # a link to nowhere


@cache
def _world_names() -> list[Any]:
    """Names and ids of the miniature world's class lists, by which its labels are drawn."""
    lists = (load_class_list(path.stem) for path in sorted(DATA_FOLDER.glob("mini_*.json")))
    return [[one.name, one.names, one.raw_ids] for one in lists]
