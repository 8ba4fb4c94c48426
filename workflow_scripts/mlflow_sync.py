"""Record a recipe's runs in MLflow, each once; what is recorded already is left alone."""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from scan_core.command.command_line import run
from scan_core.command.following import when
from scan_core.params.schema.grids import Ablation
from scan_core.params.schema.recipe import Recipe
from scan_core.storage.atomic import write_text
from scan_core.tracking import place
from scan_core.tracking.runs import runs_of


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(
        description=f"{__doc__} The store is that of MLFLOW_TRACKING_URI, by default mlflow.db. "
        "A store that does not answer is no failure: the record says so, and the next call of "
        "the workflow tries again."
    )
    result.add_argument("--name", required=True, help="of the recipe")
    result.add_argument("--recipe", type=Path, required=True, help="JSON of the whole recipe")
    result.add_argument("--grids", type=Path, required=True, help="JSON: name -> grid to record")
    result.add_argument("--results", type=Path, required=True, metavar="DIR", help="of the recipe")
    result.add_argument(
        "--folders", type=Path, required=True, help="JSON: of evaluations and predictions"
    )
    result.add_argument(
        "--report", action="store_true", help="record its tables, figures, pictures and model, too"
    )
    result.add_argument(
        "--every-seed", action="store_true", help="the grids with all their seeds, not one"
    )
    result.add_argument("--failures", type=int, default=0, help="number of failed calls before")
    result.add_argument("--output", type=Path, required=True, help="JSON: what was recorded where")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Collect, then record."""
    recipe = Recipe.model_validate_json(arguments.recipe.read_text(encoding="utf-8"))
    listed = json.loads(arguments.grids.read_text(encoding="utf-8"))
    grids = {name: Ablation.model_validate(grid) for name, grid in listed.items()}
    record: dict[str, Any] = {
        "store": place.shown_uri(),
        "synced": False,
        "failures": arguments.failures,
    }
    if when() == "off":
        record["reason"] = "SCAN_TRACKING is off"
    else:
        folders = json.loads(arguments.folders.read_text(encoding="utf-8"))
        runs = runs_of(
            recipe,
            grids,
            arguments.results,
            folders,
            arguments.report,
            arguments.every_seed,
        )

        from scan_core.tracking.store import STORE_ERRORS, spoken  # imports MLflow
        from scan_core.tracking.sync import sync

        try:
            recorded = sync(arguments.name, runs)
            record |= {"synced": True, "experiment": f"scan/{arguments.name}", "runs": recorded}
            logging.info("%d runs are in %s", len(recorded), record["store"])
        except STORE_ERRORS as error:
            record |= {"failures": arguments.failures + 1, "reason": spoken(error)}
            # To standard output: a rule's log is not where this would be seen.
            print(
                f"warning: the runs are not recorded in {record['store']} ({spoken(error)}); "
                "the next call tries again",
                flush=True,
            )
    write_text(arguments.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    run(parser(), main)
