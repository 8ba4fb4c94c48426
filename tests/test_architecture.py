"""The house: rooms that import only downward, and rules whose code is what their scripts import."""

import shutil
from pathlib import Path

import pytest

from scan_core.errors import InputError
from scan_core.provenance.source_hash import import_closure, source_hash

ROOT = Path(__file__).parents[1]
# From the top of the house to its ground.
ROOMS = [
    "apps", "tracking", "search", "reporting", "training", "evaluation", "inference", "models",
    "datasets", "params", "vocabulary", "command", "provenance", "storage",
]  # fmt: skip
TRAININGS = ["clip_weights", "train_segmenter", "mine_mask_text_pairs", "finetune_clip"]


def _scripts():
    return [path.stem for path in sorted((ROOT / "workflow_scripts").glob("[!_]*.py"))]


def _modules():
    for path in sorted((ROOT / "scan_core").rglob("*.py")):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imported(module):
    """The modules that a module reaches, itself left out, by room."""
    for path in import_closure(ROOT, module):
        parts = path.relative_to(ROOT).parts
        if path.suffix == ".py" and len(parts) > 2 and path != _file(module):
            yield parts[1], path


def test_rooms_import_only_downward():
    known = {path.name for path in (ROOT / "scan_core").iterdir() if path.is_dir()}
    assert known - {"__pycache__"} == set(ROOMS)
    upward = []
    for module in _modules():
        room = module.split(".")[1] if "." in module else ""
        if room in ROOMS and module != "scan_core.params.plan":  # which adds up the archives
            above = ROOMS[: ROOMS.index(room)]
            upward += [f"{module} -> {path.name}" for to, path in _imported(module) if to in above]
    assert not upward


def test_no_module_imports_itself_through_others():
    reached = {
        module: {path for _, path in _imported(module)} - {_file(module)} for module in _modules()
    }
    circles = [
        (one, other)
        for one in reached
        for other in reached
        if one < other and _file(one) in reached[other] and _file(other) in reached[one]
        and "__init__" not in (_file(one).stem, _file(other).stem)
    ]  # fmt: skip
    assert not circles


def _file(module):
    stem = ROOT.joinpath(*module.split("."))
    return stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")


def test_three_loose_files_at_most():
    loose = {path.name for path in (ROOT / "scan_core").iterdir() if path.is_file()}
    assert loose == {"__init__.py", "errors.py", "py.typed"}


@pytest.mark.parametrize("script", TRAININGS)
def test_training_imports_no_app_report_or_tracker(script):
    rooms = {room for room, _ in _imported(f"workflow_scripts.{script}")}
    assert not rooms & {"apps", "reporting", "tracking", "search"}


def test_an_edit_redoes_exactly_the_stages_that_import_the_file(tmp_path):
    """Modules of every depth, a data file, and every script."""
    for name in ("scan_core", "workflow_scripts"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    scripts = _scripts()
    before = {script: source_hash(tmp_path, f"workflow_scripts.{script}") for script in scripts}
    parts = {
        script: set(import_closure(tmp_path, f"workflow_scripts.{script}")) for script in scripts
    }
    edited = [
        *("vocabulary/prompt_templates.json", "datasets/index.py", "params/schema/segmenter.py"),
        *("tracking/pyfunc.py", "apps/page/viewer.py", "storage/atomic.py", "errors.py"),
    ]
    for name in edited:
        file = tmp_path / "scan_core" / name
        contents = file.read_bytes()
        file.write_bytes(contents + b"\n")
        redone = {
            script
            for script in scripts
            if source_hash(tmp_path, f"workflow_scripts.{script}") != before[script]
        }
        file.write_bytes(contents)
        assert redone == {script for script in scripts if file in parts[script]}, file

    def stages(name):
        (file,) = (path for path in tmp_path.rglob("*") if path.match(name))
        return {script for script in scripts if file in parts[script]}

    assert {"train_segmenter", "finetune_clip", "evaluate_shard"} <= stages("prompt_templates.json")
    assert {"convert_benchmark", "train_segmenter", "evaluate_shard"} <= stages("index.py")
    assert "train_segmenter" not in stages("schema/grids.py"), "a grid is no part of a training"
    assert not stages("pyfunc.py") & {*TRAININGS, "evaluate_shard"}
    assert stages("viewer.py") == set()
    assert stages("published_numbers.csv") <= {
        *("ablate", "tables", "figures", "grid_report", "release", "report_page", "mlflow_sync")
    }


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"no module workflow_scripts\.train_segmentor"):
        source_hash(ROOT, "workflow_scripts.train_segmentor")
