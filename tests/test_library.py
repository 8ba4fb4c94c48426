"""The package by itself: built, installed elsewhere, and with extras that are missing."""

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from documented import ROOT
from PIL import Image
from small_models import picture_of, tiny_scan


@pytest.mark.long
def test_the_wheel_segments_a_picture_outside_of_the_checkout(tmp_path):
    """Installed alone into a fresh environment; what it depends on lies in the tests' own."""
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    source = tmp_path / "source"
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    build = [
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
        "--wheel-dir", tmp_path, source,
    ]  # fmt: skip
    subprocess.run(build, check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if name.startswith("scan_core/")}
    assert names == {name for name in tracked if name.startswith("scan_core/")}

    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = environment / "lib" / version / "site-packages"
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib"))
    python = environment / "bin/python"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run([python, *install], check=True, cwd=tmp_path)

    tiny_scan().save(tmp_path / "model.safetensors")
    Image.fromarray(picture_of(60, 80)).save(tmp_path / "picture.png")
    ran = _run(
        environment / "bin/scan-segment", "picture.png", "--classes", "sea, sand",
        "--checkpoint", "model.safetensors", "--out", "out", folder=tmp_path,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    record = json.loads((tmp_path / "out/picture.json").read_text())
    assert sum(segment["area"] for segment in record["segments"]) == 60 * 80
    where = _run(python, "-c", "import scan_core; print(scan_core.__file__)", folder=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(environment)
    for command in ("scan-score", "scan-page"):
        assert "usage" in _run(environment / "bin" / command, "--help", folder=tmp_path).stdout


def test_a_missing_extra_is_named(tmp_path):
    without = """
import sys
sys.modules["torch"] = None
sys.argv = ["scan-segment", "picture.png", "--classes", "sea", "--out", "out"]
from scan_core.apps.segment import start
start()
"""
    ran = _run(sys.executable, "-c", without, folder=ROOT)
    assert ran.returncode == 1
    assert ran.stderr.strip().splitlines()[-1] == (
        "error: this needs torch, which is not installed: pip install 'scan-pipeline[models]'"
    )
    assert "Traceback" not in ran.stderr


def _run(*command, folder):
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)
