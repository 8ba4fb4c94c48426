"""Search test-time settings on the benchmarks' `train` splits, with Optuna.

The networks run once for each image, and their outputs are kept; a trial only recombines
them. An interrupted search resumes, and so does a finished one that is given more trials.
"""

import argparse
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.command.stopping import stop_signals
from scan_core.params.schema.grids import Search
from scan_core.params.schema.recipe import Recipe


def _benchmark(text: str) -> tuple[str, str, Path]:
    name, _, rest = text.partition("=")
    classes, _, index = rest.partition("=")
    if not (name and classes and index):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form NAME=CLASSES=INDEX")
    return name, classes, Path(index)


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--search", type=Path, required=True, help="JSON file of the search")
    result.add_argument("--recipe", required=True, help="its name")
    result.add_argument("--recipe-file", type=Path, required=True, help="JSON of the whole recipe")
    result.add_argument("--model", type=Path, required=True, help="made by fuse_weights")
    result.add_argument(
        "--benchmark",
        type=_benchmark,
        action="append",
        required=True,
        metavar="NAME=CLASSES=INDEX",
        help="a benchmark, its class list, and its index.json",
    )
    result.add_argument("--code", default="", help="names the code: other code, other search")
    result.add_argument("--work", type=Path, required=True, help="what is kept to continue")
    result.add_argument("--memory-gb", type=float, default=8.0, help="most to keep (default: 8)")
    result.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    result.add_argument("--output-folder", type=Path, required=True)
    return result


def main(arguments: argparse.Namespace) -> None:
    """Observe, search, report."""
    from scan_core.inference.devices import chosen_device
    from scan_core.inference.scan import Scan
    from scan_core.params.resolution import settings_table
    from scan_core.search.benchmarks import (
        SearchedBenchmark,
        SearchedBenchmarks,
        Workplace,
        identity,
    )
    from scan_core.search.report import write_report
    from scan_core.search.study import run_study

    search = Search.model_validate_json(arguments.search.read_text(encoding="utf-8"))
    recipe = Recipe.model_validate_json(arguments.recipe_file.read_text(encoding="utf-8"))
    benchmarks = {
        name: SearchedBenchmark(index, classes) for name, classes, index in arguments.benchmark
    }
    device = chosen_device(arguments.device)
    scan = Scan.from_checkpoint(arguments.model, settings_table(recipe), device=device)
    name = identity(search, recipe, benchmarks, arguments.model, [arguments.code])
    memory = arguments.memory_gb * 1e9
    with stop_signals() as signals:
        place = Workplace(arguments.work, arguments.model, arguments.code, signals)
        encoded = SearchedBenchmarks(scan, search, recipe, benchmarks, memory, place)
        trials = run_study(search, encoded.scores, arguments.work / "journal.log", name)
        (own,) = encoded.scores([{}])
    encoded.finish()
    write_report(search, trials, own, arguments.recipe, arguments.output_folder)
    logging.info("best of %d trials: %.4f", len(trials), max(trial.mean for trial in trials))


if __name__ == "__main__":
    run(parser(), main)
