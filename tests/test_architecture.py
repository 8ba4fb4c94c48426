"""The code of a rule is what its script imports: an edit makes that again, and nothing else."""

import json
import re
import shutil
from pathlib import Path

import pytest

from scan_core.errors import InputError
from scan_core.params.provenance import code_note, import_closure, source_hash

ROOT = Path(__file__).parents[1]
TRAININGS = {"clip_weights", "train_segmenter", "mine_shard", "finetune_clip"}
LEAVES = {
    "tables",
    "figures",
    "grid_report",
    "report_page",
    "release",
    "mlflow_sync",
    "qualitative",
}
SCRIPTS = [path.stem for path in sorted((ROOT / "workflow_scripts").glob("[!_]*.py"))]
STAGES = sorted(set(SCRIPTS) - LEAVES)


def test_three_loose_files_at_most():
    loose = {path.name for path in (ROOT / "scan_core").iterdir() if path.is_file()}
    assert loose == {"__init__.py", "errors.py", "py.typed"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    for name in ("scan_core", "workflow_scripts"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    return folder


def _hashes(folder: Path, fresh: Path) -> dict[str, str]:
    """Of every script; in a folder of its own, for files are remembered by their path."""
    shutil.copytree(folder, fresh)
    return {
        script: source_hash(f"workflow_scripts.{script}", leaf=script in LEAVES, root=fresh)
        for script in SCRIPTS
    }


def _files(folder: Path, script: str) -> set[Path]:
    """The files of a script's code, relative to the project."""
    left_out = () if script in LEAVES else ("scan_core.tracking", "scan_core.reporting")
    closure = import_closure(f"workflow_scripts.{script}", left_out, folder)
    return {path.relative_to(folder) for path in closure}


@pytest.mark.parametrize(
    ("file", "some", "none"),
    [
        (
            "vocabulary/prompt_templates.json",
            {"train_segmenter", "evaluate_shard"},
            {"stage_times"},
        ),
        ("datasets/index.py", {"convert_benchmark", "train_segmenter"}, {"clip_weights"}),
        ("params/schema/segmenter.py", {"train_segmenter", "evaluate_shard"}, set()),
        ("tracking/__init__.py", {"mlflow_sync"}, {*STAGES}),
        ("reporting/__init__.py", {"tables", "figures"}, {*STAGES}),
        # A further metric trains nothing, and evaluates no image again.
        ("evaluation/metrics.py", {"evaluate"}, {*TRAININGS, "evaluate_shard"}),
        ("params/metric_names.py", {"tables"}, {*TRAININGS, "evaluate_shard"}),
        ("apps/segment.py", set(), {*SCRIPTS}),
        ("errors.py", {*SCRIPTS} - {"on_gpus", "stage_times"}, set()),
    ],
)
def test_an_edit_redoes_exactly_the_stages_that_import_the_file(copy, tmp_path, file, some, none):
    before = _hashes(copy, tmp_path / "before")
    path = copy / "scan_core" / file
    text = path.read_text()
    path.write_text(text + ("\nADDED = 1\n" if path.suffix == ".py" else "\n"))
    after = _hashes(copy, tmp_path / "after")
    path.write_text(text)
    redone = {script for script in SCRIPTS if after[script] != before[script]}
    relative = Path("scan_core") / file
    assert redone == {script for script in SCRIPTS if relative in _files(copy, script)}
    assert redone >= some
    assert not redone & none


def test_comments_docstrings_and_layout_are_no_code(copy, tmp_path):
    before = _hashes(copy, tmp_path / "before")
    edited = 0
    for path in (copy / "scan_core").rglob("*.py"):
        text = path.read_text()
        text = re.sub(r'(\A|:\n +)"""(?=[A-Z])', r'\1"""Changed. ', path.read_text())
        path.write_text(f"# A comment.\n{text}\n\n# The end.\n")
        edited += 1
    assert edited > 50
    assert _hashes(copy, tmp_path / "after") == before


def test_a_grid_is_no_part_of_a_training(copy):
    for script in TRAININGS:
        assert Path("scan_core/params/schema/grids.py") not in _files(copy, script)


def test_every_rule_notices_that_its_script_is_another():
    """But for archives, which are known by their content, and for what is packed by hand."""
    without = {"download_archive", "extract_archive", "package_clip"}
    for file in (ROOT / "rules").glob("*.smk"):
        for rule in re.split(r"^rule ", file.read_text(), flags=re.MULTILINE)[1:]:
            for script in set(re.findall(r"workflow_scripts\.(\w+)", rule)) - without:
                assert re.search(rf"\b(code|end_of)\('{script}'", rule), script


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"no module workflow_scripts\.train_segmentor"):
        source_hash("workflow_scripts.train_segmentor")


def test_results_of_other_code_are_told(tmp_path):
    now = source_hash("workflow_scripts.fuse_weights")
    metrics = tmp_path / "metrics.json"
    metrics.write_text(json.dumps({"code": {"train_segmenter": "01234567", "fuse_weights": now}}))
    assert code_note([metrics]) == "Made by other code than the present of `train_segmenter`."
    metrics.write_text(json.dumps({"code": {"fuse_weights": now}}))
    assert code_note([metrics]) == ""
