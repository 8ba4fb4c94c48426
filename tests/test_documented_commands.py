"""Every command of the README and the documentation is one that exists, with options that exist.

`make` and `snakemake` are asked what they would do, a script's command line is parsed by its own
parser. Pages whose commands are run word by word are listed with the test that does it, and so is
every command of another program: a new one fails here until it is.
"""

import io
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
from documented import PAGES, ROOT, arguments, code_blocks, commands, mentioned
from project import Project, reduced
from small_models import picture_of, tiny_scan

# A page -> the test that runs all its commands; it has to name the page.
RUN_BY = {"own_data.md": "test_own_data.py", "export.md": "test_export.py"}
# Other commands -> the test that runs them (`file::function`), or why none can.
ELSEWHERE = {
    r"source \.venv/bin/activate": "the shell's own",
    r"\$EDITOR params\.yaml": "a person's editor",
    r"python -m pytest -m (cluster|long|\".*\")|python -m pytest( tests/\w+\.py)+": ".ci/run",
    r"podman (build|save) .*|apptainer build .*|conda (env create|activate) .*":
        "the job `container` of .github/workflows/ci.yml builds the image",
    r"squeue --me .*": "SLURM's own, on the reader's cluster",
    r"pre-commit install": "pre-commit's own; its configuration is read by test_repository.py",
    r"curl http://127\.0\.0\.1:5001/invocations .*": "asks the server that the reader started",
    r"git (add|clone|commit|checkout|diff|push)( .*)?": "the reader's own repository",
    r"gto register scan --version v1\.0\.0|dvc artifacts get \S+ scan --out .*":
        "test_versioning.py::test_a_clone_pulls_the_tables_and_computes_nothing",
    r"dvc repro|dvc exp run( -S recipe=\w+)?":
        "test_versioning.py::test_a_second_repro_does_nothing",
    r"dvc exp run (-S|--set-param) (key=value|(\+\+)?recipes\.[\w.]+=[\d.]+)":
        "test_versioning.py::test_an_experiment_on_a_setting",
    r"dvc exp run (-S recipes\.mini\.clip_finetune\.learning_rate=2e-4|--temp)":
        "test_versioning.py::test_an_experiment_on_the_training_has_the_numbers_of_a_plain_run",
    r"dvc (params|metrics|plots) diff( HEAD)?|dvc exp remove --all-commits":
        "test_versioning.py::test_an_experiment_on_a_setting",
    r"dvc (push|pull|checkout)|dvc remote add --default storage /mnt/lab/scan":
        "test_versioning.py::test_a_clone_pulls_the_tables_and_computes_nothing",
    r"mlflow ui":
        "test_tracking.py::test_the_page_lists_the_runs_of_an_ablation_with_their_metrics",
}  # fmt: skip
# Commands that no test runs: their programs are asked whether they have the options.
HELP = (
    r"dvc (exp apply|exp show|metrics show|repro --no-run-cache).*"
    r"|dvc remote (add --default|modify) storage (s3|endpointurl).*"
    r"|mlflow (server|gc|models serve).*"
    r"|pip download.*"
)

_ALL = [(page.name, command) for page in PAGES for command in commands(page) + mentioned(page)]
_OF = {
    program: sorted({command for _, command in _ALL if command.split()[0] == program})
    for program in ("make", "snakemake", "python")
}
_OF["python"] = [c for c in _OF["python"] if not any(re.fullmatch(e, c) for e in ELSEWHERE)]
_ASKED = sorted({command for _, command in _ALL if re.fullmatch(HELP, command)})


@pytest.mark.parametrize("command", _OF["make"])
def test_make_knows_the_target(command):
    ran = subprocess.run([*arguments(command), "-n"], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("command", _OF["python"])
def test_a_script_takes_these_arguments(command, monkeypatch):
    python, flag, module, *options = arguments(command)
    assert (python, flag) == ("python", "-m")
    name = f"{module}.__main__" if (ROOT / module.replace(".", "/")).is_dir() else module
    source = (ROOT / f"{name.replace('.', '/')}.py").read_text()
    assert "ArgumentParser" in source or "command_line import run" in source
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name="__main__")
    assert end.value.code == 0
    flags = {option for option in options if option.startswith("--")}
    assert flags <= set(re.findall(r"--[\w-]+", said.getvalue()))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("documented"))
    project.edit(reduced)
    (project.folder / "weights").mkdir()
    for published in ("SCAN.pth", "CS_CLIP.pt"):
        torch.save({}, project.folder / "weights" / published)
    return project


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    sorted(
        {
            re.sub(" -n| --profile local", "", command)
            for page, command in _ALL
            if command.startswith("snakemake") and page not in RUN_BY
        }
    ),
)
def test_snakemake_has_a_plan_for_it(project, command):
    program, *options = arguments(command)
    if "apptainer" in options and not (shutil.which("apptainer") or shutil.which("singularity")):
        pytest.skip("neither apptainer nor singularity is installed")
    if "--unlock" in options:
        assert project.snakemake(*options).returncode == 0
        return
    if "--report" in options:  # of what is there: here it is planned
        at = options.index("--report")
        del options[at : at + 2]
    profile = [] if "--profile" in options else ["--profile", "local"]
    # First, because after `--` come targets.
    ran = project.snakemake("-n", "--quiet", "rules", *profile, *options)
    assert ran.returncode == 0, ran.stdout
    assert program == "snakemake"


def test_other_commands_are_run_by_a_test_that_is_named():
    for page, test in RUN_BY.items():
        assert page in (ROOT / "tests" / test).read_text(), f"{test} does not read {page}"
    for reason in ELSEWHERE.values():
        if "::" in reason:
            file, function = reason.split("::")
            assert f"def {function}(" in (ROOT / "tests" / file).read_text(), reason
    for page, command in _ALL:
        known = command.split()[0] in _OF or page in RUN_BY or command in _ASKED
        assert known or any(re.fullmatch(pattern, command) for pattern in ELSEWHERE), (
            f"{page} shows `{command}`: say in ELSEWHERE or RUN_BY which test runs it"
        )


@pytest.mark.parametrize("command", _ASKED)
def test_another_program_has_these_options(command):
    program, *words = arguments(command)
    verbs = [word for word in words[:2] if re.fullmatch(r"[a-z]+", word)]
    flags = {word for word in words if word.startswith("--")}
    if program == "mlflow":  # which takes ten seconds to import
        from mlflow.cli import cli as described

        for verb in verbs:
            described = described.commands[verb]
        assert flags <= {option for parameter in described.params for option in parameter.opts}
        return
    ran = subprocess.run(
        [Path(sys.executable).with_name(program), *verbs, "--help"], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert flags <= set(re.findall(r"--[\w-]+", ran.stdout))


def test_the_lines_of_python_run(tmp_path, monkeypatch):
    """Those that the pages show, on files of the names that they use."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    scan = tiny_scan()
    for model in ("model.safetensors", "results/mini/release/model.safetensors"):
        scan.save(model)
    for photo in ("my_photo.jpg", "beach.jpg"):
        Image.fromarray(picture_of(60, 80)).save(photo)
    ran = 0
    for page in PAGES:
        for _, block in code_blocks(page):
            if block.startswith("from ") and "scan_core" in block:
                names: dict[str, object] = {}
                exec(compile(block, page.name, "exec"), names)
                assert names["result"].class_map.shape == (60, 80)
                ran += 1
    assert ran >= 2
