"""What a recipe needs and nothing in the workflow makes: looked for before anything runs."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from scan_core.errors import InputError
from scan_core.params.schema.recipe import Recipe
from scan_core.params.weights_files import weights_problems
from scan_core.vocabulary.classes import ClassList, load_class_list


class RawData(NamedTuple):
    """Where a raw format lies below the raw root, and the miniature world's layout of it."""

    folder: str
    layout: str | None


RAW_DATA = {
    "coco_stuff": RawData("coco", "coco"),
    "ade20k_150": RawData("ADEChallengeData2016", "ade_challenge"),
    "ade20k_847": RawData("ADE20K_2021_17_01", "ade_full"),
    "pascal_voc": RawData("VOCdevkit/VOC2012", "voc2012"),
    "pascal_context": RawData("VOCdevkit/VOC2010", "voc2010"),
    "folder": RawData("images", None),
}
# In place of a file of captions: the names of the classes in each image.
CLASS_NAMES = "classes"


def class_lists(
    recipe: Recipe, trained: Collection[str] = ("segmenter", "finetuned_clip")
) -> dict[str, ClassList]:
    """The class list of every benchmark, once everything that the recipe names is there.

    Args:
        trained: see `grid.trained_stages`.

    Raises:
        InputError: lists everything that is missing or wrong, a line each, with the key's path.
    """
    problems = list(_missing(recipe, trained))
    lists = {}
    for name, benchmark in recipe.datasets.benchmarks.items():
        try:
            lists[name] = load_class_list(benchmark.classes)
        except InputError as error:
            problems.append(f"datasets.benchmarks.{name}.classes: {error}")
    if problems:
        raise InputError("\n".join(problems))
    return lists


def used_benchmarks(recipe: Recipe, trains: bool) -> list[str]:
    """The benchmark that is trained on, if one is, and those that are evaluated.

    A recipe that extends another inherits its benchmarks; what nothing is made from need not be
    downloaded.
    """
    training = [recipe.datasets.train] if trains else []
    return list(dict.fromkeys([*training, *recipe.inference.benchmarks]))


def raw_root(recipe: Recipe, benchmark: str) -> Path | None:
    """The folder of a benchmark's raw data where a person has put it; None: rules make it."""
    datasets = recipe.datasets
    if (own := datasets.benchmarks[benchmark].raw) is not None:
        return Path(own)
    if datasets.source.startswith("local:"):
        return Path(datasets.source.removeprefix("local:"))
    return None


def captions(recipe: Recipe) -> tuple[Path | None, bool]:
    """The file of captions of the training images, None without, and whether rules make it.

    What rules make is named from the root of the raw data.
    """
    datasets = recipe.datasets
    named = datasets.benchmarks[datasets.train].captions
    if named is not None:
        return (None if named == CLASS_NAMES else Path(named)), False
    root = raw_root(recipe, datasets.train)
    return Path(root or "", "coco/annotations/captions_train2017.json"), root is None


def given_predictions(recipe: Recipe) -> dict[str, dict[str, Path]]:
    """Predictions of other models: method -> benchmark that is evaluated -> folder or `.json`.

    Benchmarks that a method has no predictions for are left out.
    """
    found: dict[str, dict[str, Path]] = {method: {} for method in recipe.predictions}
    for method, root in recipe.predictions.items():
        for benchmark in recipe.inference.benchmarks:
            for place in (Path(root, f"{benchmark}.json"), Path(root, benchmark)):
                if place.exists():
                    found[method][benchmark] = place
    return found


def _missing(recipe: Recipe, trained: Collection[str]) -> Iterator[str]:
    for name in used_benchmarks(recipe, bool(trained)):
        benchmark = recipe.datasets.benchmarks[name]
        root = raw_root(recipe, name)
        folder = root / RAW_DATA[benchmark.format].folder if root else None
        if folder and not folder.is_dir():
            key = "source" if benchmark.raw is None else f"benchmarks.{name}.raw"
            yield (
                f"datasets.{key}: {folder} is missing; the benchmark {name} is read from there "
                f"in the layout {benchmark.format}"
            )
    path, made = captions(recipe)
    if "finetuned_clip" in trained and path is not None and not made and not path.is_file():
        yield (
            f"datasets.benchmarks.{recipe.datasets.train}.captions: {path} is missing; CLIP is "
            "fine-tuned on nouns of these captions. Without captions write 'classes'"
        )
    for method, of_method in given_predictions(recipe).items():
        root = Path(recipe.predictions[method])
        if not root.is_dir():
            yield f"predictions.{method}: the folder {root} is missing"
        elif not of_method:
            yield (
                f"predictions.{method}: {root} has no predictions for any benchmark of "
                f"'inference.benchmarks'; expected folders of label maps, or .json files, with the "
                f"names {', '.join(recipe.inference.benchmarks)}"
            )
    backbone = recipe.segmenter.backbone.weights
    own = Path(backbone.removeprefix("file:"))
    if "segmenter" in trained and backbone.startswith("file:") and not own.is_file():
        yield f"segmenter.backbone.weights: {own} is missing"
    yield from weights_problems(recipe)
