"""Where the data of a recipe lie: folders that are named by what made them.

What the rules make of a recipe's keys has a hash of these keys in its folder's name. Data of a
person's own are known by their content (files) or by a listing of names, sizes and times (folders).
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from scan_core.params.needed_files import RAW_DATA, captions, given_predictions, raw_root
from scan_core.params.own_files import known
from scan_core.params.schema.recipe import Recipe
from scan_core.storage.files import json_digest
from scan_core.vocabulary.classes import DATA_FOLDER, load_class_list


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
        layout = RAW_DATA[recipe.datasets.benchmarks[benchmark].format].layout
        return world_folder(recipe, str(layout))
    return f"{recipe.datasets.root}/raw"


def images_of(recipe: Recipe, benchmark: str, trains: bool) -> dict[str, int | None]:
    """The splits of a benchmark that are converted, and how many images each must list.

    Args:
        trains: whether anything is trained; else the training benchmark needs no `train` split.
    """
    images = recipe.datasets.benchmarks[benchmark].images
    needed = trains or benchmark != recipe.datasets.train
    return {split: number for split, number in images.items() if needed or split != "train"}


def benchmark_folder(recipe: Recipe, benchmark: str, trains: bool | None = None) -> str:
    """The folder of a converted benchmark, `<root>/benchmarks/<name>-<hash>`.

    Args:
        trains: see `images_of`; None: whether the recipe itself does.
    """
    one = recipe.datasets.benchmarks[benchmark]
    images = images_of(recipe, benchmark, recipe.trains if trains is None else trains)
    classes = load_class_list(one.classes)
    raw: str | None = recipe.datasets.source
    if (own := raw_root(recipe, benchmark)) is not None:
        raw = known(str(own / RAW_DATA[one.format].folder))
    elif raw == "generate":
        raw = Path(raw_folder(recipe, benchmark)).name
    made_of = [
        *(one.format, images, one.split_names, raw, conversion_options(recipe, benchmark)),
        *(classes.names, classes.raw_ids, classes.built_in),
    ]
    if one.format == "folder":
        lists = [f"{name}.txt" for name in sorted({*images, *one.split_names.values()})]
        made_of += [known(f"{own}/{name}") for name in ("labels", *lists)]
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
    """Names, kinds and relations of classes that a benchmark is scored by."""
    classes = load_class_list(recipe.datasets.benchmarks[benchmark].classes)
    other = classes.predict_with
    predicted = load_class_list(other).names if other else classes.names
    relations = [classes.seen, classes.things, sorted(classes.parents.items())]
    return [classes.names, *relations, predicted]


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
def _world_names() -> list[Any]:
    """Names and ids of the miniature world's class lists, by which its labels are drawn."""
    lists = (load_class_list(path.stem) for path in sorted(DATA_FOLDER.glob("mini_*.json")))
    return [[one.name, one.names, one.raw_ids] for one in lists]
