"""Make the tables of a recipe from its evaluations and grids."""

from pathlib import Path

from scan_core.params.command_line import run


def tables(
    evaluation: list[Path],
    recipe_file: Path,
    output_folder: Path,
    metrics_folder: Path,
    ablation: list[Path] = [],  # noqa: B006
    given: list[Path] = [],  # noqa: B006
) -> None:
    """Make the tables of a recipe from its evaluations and grids.

    Args:
        evaluation: metrics.json of each benchmark, all of one model.
        recipe_file: the recipe, as the workflow freezes it; recipe.json beside the tables repeats
            it.
        output_folder: for the tables.
        metrics_folder: for a JSON file of each benchmark's metrics, which `dvc metrics show` lists.
        ablation: CSV of each grid.
        given: metrics.json of predictions of other models, of each method and benchmark.
    """
    from scan_core.errors import InputError
    from scan_core.params.frozen_recipe import load_frozen
    from scan_core.params.provenance import code_note, imported_note
    from scan_core.reporting import grids
    from scan_core.reporting import tables as made
    from scan_core.reporting.diagnosis import cut_table, load_cuts
    from scan_core.reporting.published import published_table
    from scan_core.reporting.results import load_evaluations
    from scan_core.storage.files import write_text

    recipe, text = load_frozen(recipe_file)
    architecture = recipe["recipes"][recipe["recipe"]]["clip"]["architecture"]
    own = isinstance(architecture, dict)
    note = f"{imported_note(evaluation)} {code_note(evaluation)}".strip()
    results = load_evaluations(evaluation, given)
    if (found := results["recipe"].iloc[0]) != recipe["recipe"]:
        raise InputError(f"the evaluations are of {found}, expected {recipe['recipe']}")
    for name, table in {
        "main": made.main_table(results),
        "details": made.detail_table(results),
        "claims": made.claim_table(results),
        "cuts": cut_table(load_cuts([*evaluation, *given])),
        "published": published_table(results, "small" if own else architecture),
    }.items():
        write_text(output_folder / f"{name}.csv", table.csv())
        made.write_tables([table.with_note(note)], output_folder, name)
    write_text(output_folder / "combined.csv", made.combined_table(results).csv())
    write_text(output_folder / "recipe.json", text)
    for grid in map(grids.load_grid, ablation):
        write_text(output_folder / f"ablation_{grid.name}.csv", grids.grid_values(grid))
        of_grid = [table.with_note(note) for table in grids.grid_tables(grid)]
        made.write_tables(of_grid, output_folder, f"ablation_{grid.name}")
    for benchmark, metrics in made.benchmark_metrics(results).items():
        write_text(metrics_folder / f"{benchmark}.json", metrics)


if __name__ == "__main__":
    run(tables)
