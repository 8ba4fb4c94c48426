"""What surrounds a command: a dollar in a name, results on another disk, no network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from project import ROOT, Project

from scan_core.reporting.figures import per_class_figure, save_figure


def test_a_dollar_in_a_class_name_is_a_dollar(tmp_path):
    names = [r"costs $5 and $6", r"$\nonsense{$"]
    classes = pd.DataFrame({"name": names, "group": "all classes", "iou": 0.5})
    save_figure(per_class_figure(classes, "prices"), tmp_path, "bars")
    assert (tmp_path / "bars.png").stat().st_size > 1000


def test_results_on_another_disk_are_refused_before_anything_runs(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "project").mkdir()
    (tmp_path / "project/results").symlink_to(tmp_path / "scratch")
    ran = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.dvc_tables", "all"],
        cwd=tmp_path / "project", env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "results leads to" in ran.stderr
    assert "outside of the repository" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_a_user_without_a_name_has_a_plan(tmp_path):
    """As in a container that runs as any number."""
    nameless = ["unshare", "--user", "--map-user=4000000", "--map-group=4000000"]
    if shutil.which("unshare") is None or subprocess.run([*nameless, "true"]).returncode:
        pytest.skip("this system has no user namespaces")
    names = ("LOGNAME", "USER", "LNAME", "USERNAME")
    project = Project(tmp_path)
    environment = {key: value for key, value in os.environ.items() if key not in names}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    }
    ran = subprocess.run(
        [*nameless, "snakemake", "-n", "--cores", "1", "--quiet", "rules", "--", "datasets"],
        cwd=project.folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
def test_weights_that_cannot_be_fetched_are_told_in_one_message(tmp_path):
    program = """
from scan_core.errors import InputError
from scan_core.training.clip_source import download_clip
try:
    download_clip("ViT-B-32", "laion2b_s34b_b79k")
except InputError as error:
    print(error)
"""
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=offline, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert "open_clip:laion2b_s34b_b79k cannot be fetched" in ran.stdout
    assert "use 'clip:<path>'" in ran.stdout
