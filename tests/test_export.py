"""A model as ONNX graphs: what `Scan` says, without PyTorch; and every folder that is refused."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from documented import ROOT, commands, shown_files
from PIL import Image
from small_models import VIEW, picture_of, settings, small_scan

from scan_core.apps.class_names import class_names
from scan_core.apps.exported import ExportedModel
from scan_core.apps.model import classify
from scan_core.errors import InputError
from scan_core.inference.scan import Scan
from scan_core.params.settings import SettingsTable

pytestmark = pytest.mark.slow
GUIDE = ROOT / "docs/export.md"
MODEL = Path("results/mini/release/model.safetensors")
CLASSES = class_names("sea, sand, red ball | ball")  # the guide's
DEFAULT = settings(0.9, 0.6, 0.5, **VIEW, longest_side=320)
# Whatever a header can ask for.
BENCHMARKS = {
    "views": replace(DEFAULT, scales=(1.0, 0.7), flip=True),
    "log": replace(DEFAULT, ensemble="log", replace_ratio=0.0),
    "alone": replace(DEFAULT, clip_weight=0.0),
    "wide": replace(DEFAULT, clip_weight=1.0, crop_expansion=1.4, crop_threshold=0.5),
}
SIZES = [(90, 120), (40, 200), (33, 34), (300, 31), (5, 300)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which all commands of the guide were run."""
    folder = tmp_path_factory.mktemp("export")
    scan = small_scan(DEFAULT)
    scan.header["test_settings"] = SettingsTable(DEFAULT, BENCHMARKS).as_dict()
    (folder / MODEL).parent.mkdir(parents=True)
    scan.save(folder / MODEL)
    (folder / "photos").mkdir()
    Image.fromarray(picture_of(90, 120)).save(folder / "photos/my_photo.png")
    for name, text in shown_files(GUIDE).items():
        (folder / name).write_text(text)
    followed = [shlex.split(command) for command in commands(GUIDE)]
    for _, *arguments in (command for command in followed if command[0] == "python"):
        _run(folder, *arguments)
    assert "(90, 120) ('sea', 'sand', 'red ball')" in _run(folder, "run.py").stdout
    return folder


@pytest.fixture(scope="module")
def scan(folder):
    return Scan.from_checkpoint(folder / MODEL)


def _run(folder, *command, code=0):
    ran = subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert ran.returncode == code, ran.stderr
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran


def _expected(scan, picture, chosen, classes=CLASSES):
    (views,) = scan.encode([picture], [chosen])
    text = scan.embed(classes.words)
    return views.first, classify(scan, views, text, classes, chosen, picture.shape[:2])


def _labels(path):
    return np.asarray(Image.open(path))


@pytest.mark.parametrize(
    ("benchmark", "size"),
    [*((None, size) for size in SIZES), *((name, SIZES[1]) for name in BENCHMARKS)],
    ids=str,
)
def test_class_maps_and_outputs_are_those_of_pytorch(folder, scan, benchmark, size):
    chosen, picture = scan.settings_table.of(benchmark), picture_of(*size)
    features, expected = _expected(scan, picture, chosen)
    model = ExportedModel(folder / "exported", benchmark=benchmark)
    found = model.segment(picture)
    assert (found.class_map == expected.class_map).mean() >= 0.999
    if benchmark != "views":
        assert np.abs(found.score_map - expected.score_map).max() <= 1e-3
    seen, (height, width) = model.look(picture, 1.0), features.size
    crops = next(iter(features.crop_features.values()), None)
    pairs = [
        (features.masks(), seen["masks"][:, :height, :width]),
        (features.embeddings, seen["embeddings"]),
        *([] if crops is None else [(crops, seen["features"])]),
    ]
    assert crops is not None or benchmark == "alone"
    for ours, theirs in pairs:
        assert np.abs(ours.numpy() - theirs).max() / np.abs(ours.numpy()).max() <= 1e-3


def test_the_commands_of_the_guide_segment_what_pytorch_does(folder, scan):
    """Another class list, other words of the exported ones, and overlays."""
    picture = picture_of(90, 120)
    for labels, names in (
        ("labels", "sea, sand, red ball | ball"),
        ("other_labels", "brick wall, tent, kite"),
        ("two_labels", "tent, kite"),
    ):
        _, expected = _expected(scan, picture, DEFAULT, class_names(names))
        assert len(np.unique(expected.class_map)) > 1, "one class alone would test nothing"
        assert (_labels(folder / labels / "my_photo.png") == expected.class_map).mean() >= 0.999
    assert _labels(folder / "overlays/my_photo.png").shape[0] > 90, "with a legend"


def test_images_are_segmented_where_there_is_no_pytorch(folder):
    """The command in a process in which every package of the extra `models` is missing."""
    without = """
import runpy, sys
missing = ("torch", "torchvision", "open_clip", "safetensors", "pycocotools", "onnx", "onnxscript")
class Missing:
    def find_spec(name, *_):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing)
sys.argv = ["exported", "photos/*.png", "--model", "exported", "--out", "without"]
runpy.run_module("scan_core.apps.exported", run_name="__main__")
assert not sys.modules.keys() & set(missing)
"""
    _run(folder, "-c", without)
    found, expected = (_labels(folder / f / "my_photo.png") for f in ("without", "labels"))
    assert np.array_equal(found, expected)


def test_what_cannot_be_exported_or_segmented_is_said_in_one_line(folder, tmp_path):
    export = ("-m", "scan_core.apps.export", "--classes", "sea, sand", "--out")
    refused = _run(folder, *export, "exported", code=1).stderr
    assert "exported exists and is not an empty folder" in refused
    small_scan(DEFAULT, global_random_draws=True).save(folder / "released.safetensors")
    refused = _run(folder, *export, "new", "--checkpoint", "released.safetensors", code=1).stderr
    assert "'global_random_draws' cannot be exported" in refused
    assert not (folder / "new").exists()
    exported = tmp_path / "exported"
    shutil.copytree(folder / "exported", exported)
    with pytest.raises(InputError, match=r"model\.json cannot be read .*scan_core\.apps\.export"):
        ExportedModel(folder)
    with pytest.raises(InputError, match="no test-time settings for the benchmark 'own'"):
        ExportedModel(exported, benchmark="own")
    with pytest.raises(InputError, match="'tent' is not among the exported words"):
        ExportedModel(exported).segment(picture_of(9, 9), class_names("sea, tent"))
    description = json.loads((exported / "model.json").read_text())
    (exported / "model.json").write_text(json.dumps({**description, "checkpoint": "another"}))
    with pytest.raises(InputError, match="made with another checkpoint"):
        ExportedModel(exported)
    (exported / "model.json").write_text(json.dumps(description))
    (exported / "crops.onnx").write_bytes((exported / "crops.onnx").read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"crops\.onnx cannot be read"):
        ExportedModel(exported)
