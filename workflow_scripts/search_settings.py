"""Search test-time settings on the benchmarks' `train` splits, with Optuna."""

from pathlib import Path

from scan_core.params.command_line import run


def search_settings(
    search: Path,
    recipe: str,
    recipe_file: Path,
    model: Path,
    indexes: list[Path],
    work: Path,
    output_folder: Path,
    code: str = "",
    memory_gb: float = 8.0,
) -> None:
    """Search test-time settings on the benchmarks' `train` splits, with Optuna.

    The networks run once for each image, and their outputs are kept in memory; a trial only
    recombines them. A search that was interrupted, or is given more trials, goes on with the trials
    that it has.

    Args:
        search: JSON file of the search.
        recipe: its name.
        recipe_file: JSON file of the whole recipe.
        model: made by fuse_weights.
        indexes: index.json of each benchmark.
        work: folder of Optuna's database.
        output_folder: for trials.csv, best.yaml, best_per_benchmark.yaml and the figure.
        code: names the code: other code, other search.
        memory_gb: most to keep.
    """
    from scan_core.datasets.loading import BenchmarkImages
    from scan_core.inference.devices import chosen_device
    from scan_core.inference.scan import Scan
    from scan_core.params.schema.grids import Search
    from scan_core.params.schema.recipe import Recipe
    from scan_core.params.settings import settings_table
    from scan_core.search.features import encode_benchmarks, identity
    from scan_core.search.study import run_study, write_report
    from scan_core.vocabulary.classes import load_class_list

    asked = Search.model_validate_json(search.read_text(encoding="utf-8"))
    whole = Recipe.model_validate_json(recipe_file.read_text(encoding="utf-8"))
    scan = Scan.from_checkpoint(model, settings_table(whole), device=chosen_device("auto"))
    searched = {}
    for images in (BenchmarkImages(index, "train") for index in indexes):
        listed = load_class_list(whole.datasets.benchmarks[images.index.name].classes)
        searched[images.index.name] = (images, listed)
    score = encode_benchmarks(scan, asked, whole, searched, memory_gb * 1e9)
    name = identity(asked, whole, searched, model, code)
    study = run_study(asked, score, work / "optuna.db", name)
    write_report(asked, study, score([{}])[0], recipe, output_folder)


if __name__ == "__main__":
    run(search_settings)
