"""Write one HTML page of all tables, figures and images of a recipe."""

import argparse
import json
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.params.data_names import name_of
from scan_core.params.frozen_recipe import load_frozen
from scan_core.reporting.report_page import ReportFiles, report_page
from scan_core.reporting.results import load_evaluations, load_given
from scan_core.reporting.tables.grids import load_grid
from scan_core.storage.atomic import write_text


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    for name, meaning in {
        "evaluation": "metrics.json of each benchmark",
        "pictures": "BENCHMARK.png: panels of predictions",
        "sheets": "BENCHMARK/sheet.png: samples of the data",
    }.items():
        result.add_argument(
            f"--{name}", nargs="+", type=Path, required=True, metavar="FILE", help=meaning
        )
    result.add_argument(
        "--ablation", nargs="*", type=Path, default=[], metavar="FILE", help="CSV of each grid"
    )
    result.add_argument(
        "--given", nargs="*", type=Path, default=[], metavar="FILE", help="of other models"
    )
    result.add_argument(
        "--recipe-file", type=Path, required=True, help="the recipe, as the workflow freezes it"
    )
    result.add_argument("--architecture", required=True, help="of its CLIP, such as ViT-L-14")
    result.add_argument("--figures", type=Path, required=True, metavar="DIR", help="PNG files")
    result.add_argument("--output", type=Path, required=True, help="HTML to write")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Read, put together, write."""
    recipe, _ = load_frozen(arguments.recipe_file)
    page = report_page(
        load_evaluations(arguments.evaluation),
        [load_grid(path) for path in arguments.ablation],
        arguments.architecture,
        json.dumps(recipe["recipes"][recipe["recipe"]], indent=1, ensure_ascii=False),
        ReportFiles(
            figures=arguments.figures,
            pictures={path.stem: path for path in arguments.pictures},
            sheets={name_of(path.parent.name): path for path in arguments.sheets},
        ),
        load_given(arguments.given),
    )
    write_text(arguments.output, page)
    logging.info("%s: %.1f MB", arguments.output, len(page) / 1e6)


if __name__ == "__main__":
    run(parser(), main)
