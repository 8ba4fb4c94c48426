"""Search test-time settings on the benchmarks' `train` splits, with Optuna.

The networks run once for each image; a trial only recombines what they said. A search that was
stopped continues, and so does a finished one that is given more trials.
"""

import argparse
import json
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.errors import InputError
from scan_core.params.schema.grids import Search


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--search", required=True, help="JSON: one of `searches` of params.yaml")
    result.add_argument("--recipe", required=True, help="name of the recipe")
    result.add_argument("--model", type=Path, required=True, help="made by fuse_weights")
    result.add_argument(
        "--benchmarks",
        required=True,
        help="JSON: name -> index (file), classes (list), settings (the recipe's own)",
    )
    result.add_argument("--replace-layers", type=int, nargs="*", default=[])
    result.add_argument("--code", default="", help="names the code: other code, other search")
    result.add_argument("--work", type=Path, required=True, help="folder of Optuna's journal")
    result.add_argument("--memory-gb", type=float, default=8.0, help="most to keep (default: 8)")
    result.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    result.add_argument("--output-folder", type=Path, required=True)
    return result


def main(arguments: argparse.Namespace) -> None:
    """Observe, search, report."""
    from scan_core.inference.devices import chosen_device
    from scan_core.inference.scan import Scan
    from scan_core.search.benchmarks import SearchedBenchmarks, identity, parse_benchmarks
    from scan_core.search.report import write_report
    from scan_core.search.study import run_study

    try:
        search = Search.model_validate(json.loads(arguments.search))
    except ValueError as error:
        raise InputError(f"--search: expected JSON, as the rule gives it; {error}") from None
    benchmarks = parse_benchmarks(arguments.benchmarks)
    scan = Scan.from_checkpoint(arguments.model, device=chosen_device(arguments.device))
    scan.observer.use_layers(arguments.replace_layers)
    observed = SearchedBenchmarks(scan, search, benchmarks, arguments.memory_gb * 1e9)
    others = [arguments.code, str(arguments.replace_layers)]
    name = identity(search, benchmarks, arguments.model, others)
    trials = run_study(search, observed.scores, arguments.work / "journal.log", name)
    (own,) = observed.scores([{}])
    write_report(search, trials, own, arguments.recipe, arguments.output_folder)
    logging.info("best of %d trials: %.4f", len(trials), max(trial.mean for trial in trials))


if __name__ == "__main__":
    run(parser(), main)
