"""What the rules share: the recipe, where things lie, and the code of their scripts."""

import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# The workflow imports only the light floor of the package, from beside this folder: the Snakefile may
# be a module of another workflow, or run in another directory. `python -m workflow_scripts.x` finds
# its module in the same way.
PROJECT = Path(str(workflow.current_basedir)).absolute().parent
sys.path.insert(0, str(PROJECT))
PATHS = dict.fromkeys([str(PROJECT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, PATHS)))

from scan_core.datasets.archives import ARCHIVES, BACKBONE_ARCHIVES
from scan_core.datasets.formats import archives_of
from scan_core.errors import InputError
from scan_core.params import data_names as data
from scan_core.params.data_names import RAW_DATA, name_of, predictions_of, scored_by, short_hash
from scan_core.params.frozen_recipe import as_input, resolved_recipe
from scan_core.params.grid import STAGES, trained_stages
from scan_core.params.needed_files import CLASS_NAMES, class_lists, raw_root, used_benchmarks
from scan_core.params.provenance import source_hash
from scan_core.params.reading import SNAPSHOT_FOLDER, select_params, snapshot_params
from scan_core.params.recipe_part import as_file
from scan_core.tracking.store import user

# Snakemake asks for the user's name, and some containers know none.
os.environ.update(LOGNAME=user())
if set("{}") & set(str(PROJECT)):
    raise WorkflowError(f"Snakemake takes the braces in {PROJECT} for wildcards; rename the folder")
if not Path("params.yaml").is_file():
    raise WorkflowError(
        f"{Path.cwd()} has no params.yaml, which describes what to run; begin with a copy of "
        f"{PROJECT / 'params.yaml'}"
    )

try:
    PARAMS_SNAPSHOT = snapshot_params(Path("params.yaml"))
except (InputError, OSError) as error:
    raise WorkflowError(str(error)) from None


configfile: PARAMS_SNAPSHOT


try:
    PARAMS = select_params(config, PARAMS_SNAPSHOT)
    RECIPE_NAME, RECIPE = PARAMS.recipe, PARAMS.recipes[PARAMS.recipe]
    TRAINED = trained_stages(RECIPE, map(PARAMS.ablations.get, RECIPE.grids))
    CLASS_LISTS = class_lists(RECIPE, TRAINED)
except InputError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{RECIPE_NAME}"
LOGS = f"logs/{RECIPE_NAME}"
TIMINGS = f"{RESULTS}/timings"
DATA = RECIPE.datasets.root
BENCHMARKS = RECIPE.datasets.benchmarks
TRAINS = bool(TRAINED)
USED = used_benchmarks(RECIPE, TRAINS)
# Benchmark -> the folder of what it is converted to, and that folder's name.
FOLDERS = {name: data.benchmark_folder(RECIPE, name, TRAINS) for name in BENCHMARKS}
VARIANTS = {name: Path(folder).name for name, folder in FOLDERS.items()}
# The training benchmark with its `train` split, which only trainings ask for.
TRAINING = data.benchmark_folder(RECIPE, RECIPE.datasets.train, trains=True)


def code(script, leaf=False):
    """Hash of what a script of `workflow_scripts` runs, as a part of a rule's command.

    So Snakemake's trigger `code` notices another one, which `--rerun-triggers` can switch off.
    """
    return source_hash(f"workflow_scripts.{script}", leaf=leaf, root=PROJECT)


def end_of(script, leaf=False):
    """The end of the command of a script that has no use for the hash of its code."""
    return f" 2> {{log:q}} # code {code(script, leaf)}"


def benchmark_of(wildcards):
    """The name of the benchmark that a job is about, which its folder is named after."""
    folders = ("benchmark", "evaluation", "diagnosed", "scores", "picture")
    return next(name_of(wildcards[key]) for key in folders if key in wildcards.keys())


def of_benchmark(wildcards):
    """The benchmark of a job, as the recipe describes it."""
    return BENCHMARKS[benchmark_of(wildcards)]


def classes_of(wildcards):
    """The class list of a job's benchmark."""
    return of_benchmark(wildcards).classes


def of_data(file):
    """A function of wildcards: a file of the benchmark that a job is about."""
    return lambda wildcards: f"{FOLDERS[benchmark_of(wildcards)]}/{file}"


def files_of(names, *files):
    """Files of several benchmarks."""
    return [f"{FOLDERS[name]}/{file}" for name in names for file in files]


def one_of(names):
    """Wildcard constraint: one of these names."""
    return "|".join(map(re.escape, sorted(names))) or "(?!)"


def shown(path, category, *patterns, **labels):
    """An output that Snakemake's report shows, with its category's caption of docs/report."""
    caption = f"../docs/report/{category.lower()}.rst"
    return report(path, caption=caption, category=category, patterns=[*patterns], labels=labels)


def handed(document):
    """A document as a file, for a script: longer than a command line may be."""
    return str(as_file(document, SNAPSHOT_FOLDER / "parts"))


def leaf_input(name, document, **options):
    """A file of what a leaf depends on; jobs find it as their run left it."""
    if not workflow.is_main_process:
        return f".snakemake/params/leaves/{name}.json"
    return str(as_input(name, document, **options))


# Resources of a training, whose script starts as one process for each device. On one machine it takes
# the devices that it finds. A profile may name `nodes`, `devices` of each, reading `workers` of each
# device, `micro_batches` of each step and device where memory is short, and as `launcher` the command
# that starts the processes, such as `srun`. That `mpi` is there, even empty, has SLURM's executor leave
# the starting of processes to the rule. `experiment` is where MLflow shows it: no parameter, for recipes
# share what they train.
TRACKED = {"experiment": RECIPE_NAME}
TRAINING_PROCESSES = TRACKED | {"mpi": "", "nodes": 1, "devices": "auto", "workers": 1}
TRAINING_PROCESSES |= {"micro_batches": 1, "launcher": ""}
# Of a job that takes one GPU where there is one: a profile may name a command that chooses it.
ONE_GPU = {"launcher": ""}
