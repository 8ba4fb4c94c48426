"""What the rules share: the recipe, where things lie, and what a job depends on."""

import json
import re
import sys
import time
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

# The workflow imports only the light floor of the package, from beside this folder: the Snakefile may
# be a module of another workflow, or run in another directory.
PROJECT = Path(str(workflow.current_basedir)).absolute().parent
sys.path.insert(0, str(PROJECT))

from scan_core.command.clearing import clear_the_way, sweep
from scan_core.datasets.archives import ARCHIVES, BACKBONE_ARCHIVES
from scan_core.datasets.formats import FORMATS
from scan_core.command.importable import make_importable
from scan_core.errors import InputError
from scan_core.params.frozen_recipe import freeze_recipe
from scan_core.params.needed_files import class_lists
from scan_core.params.reading import SNAPSHOT_FOLDER, select_params, snapshot_params
from scan_core.provenance.source_hash import source_hash
from scan_core.storage.addressed import write_addressed
from scan_core.vocabulary.classes import load_class_list

STARTED = time.time()

make_importable(PROJECT)

if not Path("params.yaml").is_file():
    raise WorkflowError(
        f"{Path.cwd()} has no params.yaml, which describes what to run; begin with a copy of "
        f"{PROJECT / 'params.yaml'}"
    )

try:
    if workflow.is_main_process:
        clear_the_way(Path.cwd(), sys.argv[1:])
    PARAMS_SNAPSHOT = snapshot_params(Path("params.yaml"))
except InputError as error:
    raise WorkflowError(str(error)) from None


configfile: PARAMS_SNAPSHOT


try:
    PARAMS = select_params(config, PARAMS_SNAPSHOT)
    RECIPE_NAME, RECIPE = PARAMS.recipe, PARAMS.recipes[PARAMS.recipe]
    CLASS_LISTS = class_lists(RECIPE)
except InputError as error:
    raise WorkflowError(str(error)) from None

ENVIRONMENT = "../envs/scan.yaml"
RESULTS = f"results/{RECIPE_NAME}"
LOGS = f"logs/{RECIPE_NAME}"
TIMINGS = f"{RESULTS}/timings"
# An input of the leaves: newer than tables that came from elsewhere, such as by `dvc pull`.
RECIPE_FILE = str(
    freeze_recipe(
        PARAMS, Path(f"{RESULTS}/tables/recipe.json"), workflow.is_main_process
    )
)


@cache
def code(script: str, *data: str) -> str:
    """Hash of what a script of `workflow_scripts` runs: a change of code, not of times, counts."""
    return source_hash(PROJECT, f"workflow_scripts.{script}", data)


def addressed(document) -> str:
    """A document as a JSON file: longer than a command line may be, and named by its contents, so
    that a change counts.
    """
    text = json.dumps(document, sort_keys=True)
    return str(write_addressed(SNAPSHOT_FOLDER / "parts", text))


def made_of(script: str, result: str, **contents) -> str:
    """A file of everything that a result depends on besides the other input files of its rule.

    It is an input of the rule, which copies it beside its result as `made_of.json`; see
    `rules/made_of.smk`.
    """
    data = contents.pop("data", ())
    about = {"script": script, "result": result, "code": code(script, *data)}
    return addressed({**about, **contents})


def one_of(names) -> str:
    """Wildcard constraint: one of these names."""
    return "|".join(map(re.escape, sorted(names))) or "(?!)"


def training_processes():
    """Resources of a rule whose script starts as one process for each device.

    On one machine the script takes the devices that it finds. A profile may name `nodes`,
    `devices` of each, reading `workers` of each device, `micro_batches` of each step and device
    where memory is short, and as `launcher` the command that starts the processes, such as `srun`.
    That `mpi` is there, even empty, has SLURM's executor leave the starting of processes to the
    rule.
    """
    return {
        "mpi": "",
        "nodes": 1,
        "devices": "auto",
        "workers": 1,
        "micro_batches": 1,
        "launcher": "",
    }


# Of a job that takes one GPU where there is one: a profile may name a command that chooses it.
ONE_GPU = {"launcher": ""}
