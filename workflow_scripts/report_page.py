"""Write one HTML page of all tables, figures and images of a recipe."""

import json
from datetime import date
from pathlib import Path

from scan_core.params.command_line import run


def report_page(
    evaluation: list[Path],
    pictures: list[Path],
    sheets: list[Path],
    recipe_file: Path,
    figures: Path,
    output: Path,
    ablation: list[Path] = [],  # noqa: B006
    given: list[Path] = [],  # noqa: B006
    diagnosis: list[Path] = [],  # noqa: B006
    timings: Path | None = None,
) -> None:
    """Write one HTML page of all tables, figures and images of a recipe.

    Args:
        evaluation: metrics.json of each benchmark.
        pictures: BENCHMARK.png, panels of predictions.
        sheets: samples of the data of each benchmark.
        recipe_file: the recipe, as the workflow freezes it.
        figures: folder of PNG files.
        output: HTML to write.
        ablation: CSV of each grid.
        diagnosis: diagnosis.json of each benchmark; their figures are among the others.
        given: metrics.json of predictions of other models.
        timings: folder of Snakemake's benchmark files.
    """
    from scan_core.params.frozen_recipe import load_frozen
    from scan_core.params.provenance import code_note, imported_note
    from scan_core.reporting.diagnosis import load_cuts, load_diagnosis
    from scan_core.reporting.grids import load_grid
    from scan_core.reporting.report import origin, report_page
    from scan_core.reporting.results import load_evaluations
    from scan_core.storage.files import write_text

    document, _ = load_frozen(recipe_file)
    recipe = document["recipes"][document["recipe"]]
    architecture = recipe["clip"]["architecture"]
    page = report_page(
        load_evaluations(evaluation, given),
        [load_grid(path) for path in ablation],
        "small" if isinstance(architecture, dict) else architecture,
        json.dumps(recipe, indent=1, ensure_ascii=False),
        figures,
        pictures={path.stem: path for path in pictures},
        sheets=sheets,
        origin=origin(date.today(), timings),
        note=f"{imported_note(evaluation)} {code_note(evaluation)}".strip(),
        diagnoses=[load_diagnosis(path) for path in diagnosis],
        cuts=load_cuts(evaluation),
    )
    write_text(output, page)


if __name__ == "__main__":
    run(report_page)
