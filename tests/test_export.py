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

from scan_core.apps.export.onnx_files import crop_graph, write_graph
from scan_core.apps.exported.model import ExportedModel
from scan_core.apps.own_classes import own_classes, parse_classes
from scan_core.apps.own_images import classify
from scan_core.errors import InputError
from scan_core.inference.image_features import CropSetting
from scan_core.inference.scan import Scan
from scan_core.models.clip import build_clip
from scan_core.params.settings import SettingsTable

GUIDE = ROOT / "docs/export.md"
MODEL = Path("results/mini/release/model.safetensors")
# Those of the guide.
CLASSES = own_classes(parse_classes("sea, sand, red ball | ball"))
OTHER_CLASSES = ["brick wall", "tent", "kite"]
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
    Image.fromarray(picture_of(90, 120)).save(folder / "my_photo.jpg", quality=95)
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


def _refused(folder, *options):
    """The last line of an export that is refused."""
    command = ("-m", "scan_core.apps.export", "--classes", "sea, sand", *options)
    return _run(folder, *command, code=1).stderr.strip().splitlines()[-1]


def _expected(scan, picture, chosen):
    (seen,) = scan.encode([picture], [chosen])
    text = scan.embed(CLASSES.words)
    return seen.first, classify(scan, seen, text, CLASSES, chosen, picture.shape[:2]).class_map


def _difference(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(ours).max()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("benchmark", "size"),
    [*((None, size) for size in SIZES), *((name, SIZES[1]) for name in BENCHMARKS)],
    ids=str,
)
def test_class_maps_and_outputs_are_those_of_pytorch(folder, scan, benchmark, size):
    chosen, picture = scan.settings_table.of(benchmark), picture_of(*size)
    ours, expected = _expected(scan, picture, chosen)
    model = ExportedModel.open(folder / "exported", benchmark=benchmark)
    assert (model.segment(picture) == expected).mean() >= 0.999
    image = scan.resize(picture, chosen).numpy()
    masks, embeddings, cls = model.propose(image)
    assert _difference(ours.masks().numpy(), masks) <= 1e-3
    assert _difference(ours.embeddings.numpy(), embeddings) <= 1e-3
    if benchmark != "alone":
        features = ours.crop_features[CropSetting.of(chosen)].numpy()
        assert features.any(), "without crops this would test nothing"
        # Of the same masks: one pixel that rounding takes across the threshold is another crop.
        found = model.describe(image, ours.masks().numpy(), cls)
        assert _difference(features, found) <= 1e-3


@pytest.mark.slow
def test_another_class_list(folder, scan):
    photo = folder / "my_photo.jpg"
    expected = scan.segment(photo, OTHER_CLASSES).class_map
    assert len(np.unique(expected)) == 3
    found = np.asarray(Image.open(folder / "other_labels/my_photo.png"))
    assert (found == expected).mean() >= 0.999


@pytest.mark.slow
def test_images_are_segmented_where_there_is_no_pytorch(folder, scan):
    """The command in a process in which every package of the extra `models` is missing."""
    without = """
import runpy, sys
missing = ("torch", "torchvision", "open_clip", "safetensors", "pycocotools", "onnx", "onnxscript")
sys.modules.update(dict.fromkeys(missing))
sys.argv = ["exported", "my_photo.jpg", "--model", "exported", "--out", "without"]
runpy.run_module("scan_core.apps.exported", run_name="__main__")
assert all(sys.modules[name] is None for name in missing)
"""
    _run(folder, "-c", without)
    found = np.asarray(Image.open(folder / "without/my_photo.png"))
    picture = np.asarray(Image.open(folder / "my_photo.jpg"))
    _, expected = _expected(scan, picture, DEFAULT)
    assert len(np.unique(expected)) > 1, "a picture of one class would test nothing"
    assert (found == expected).mean() >= 0.999


@pytest.mark.slow
def test_a_convolutional_stem_can_be_exported(tmp_path):
    """The graph is compared with PyTorch when it is written."""
    architecture = {
        "embed_dim": 16, "image_size": 32, "patch_size": 8, "vision_width": 32,
        "vision_layers": 3, "text_width": 16, "text_layers": 1, "head_width": 16,
        "context_length": 8, "stem": "convolutional",
    }  # fmt: skip
    visual = build_clip(architecture).visual.requires_grad_(False)
    write_graph(tmp_path / "crops.onnx", crop_graph(visual))
    assert (tmp_path / "crops.onnx").stat().st_size > 1000


@pytest.mark.slow
def test_what_cannot_be_exported_is_said_in_one_line(folder):
    assert _refused(folder, "--out", "exported") == (
        "error: exported exists and is not an empty folder; name another --out, or remove it"
    )
    (folder / "broken.safetensors").write_bytes(b"no checkpoint")
    wrong = _refused(folder, "--checkpoint", "broken.safetensors", "--out", "new")
    assert wrong.startswith("error: checkpoint broken.safetensors cannot be read")
    small_scan(DEFAULT, global_random_draws=True).save(folder / "released.safetensors")
    released = _refused(folder, "--checkpoint", "released.safetensors", "--out", "new")
    assert "'global_random_draws' cannot be exported" in released
    missing = """
import sys
sys.modules["onnxscript"] = None
sys.argv = ["scan-export", "--classes", "sea", "--out", "new"]
from scan_core.apps.export.__main__ import start
start()
"""
    needed = "error: this needs onnxscript, which is not installed: "
    said = _run(folder, "-c", missing, code=1).stderr
    assert said == f"{needed}pip install 'scan-pipeline[export]'\n"
    assert not (folder / "new").exists()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")], "leftovers"


@pytest.mark.slow
def test_what_cannot_be_segmented_is_said_in_one_line(folder, tmp_path):
    exported = tmp_path / "exported"
    shutil.copytree(folder / "exported", exported)
    with pytest.raises(InputError, match="is no exported model"):
        ExportedModel.open(folder)
    with pytest.raises(InputError, match="no test-time settings for the benchmark 'own'"):
        ExportedModel.open(exported, benchmark="own")

    description = json.loads((exported / "model.json").read_text())

    def changed(**values):
        (exported / "model.json").write_text(json.dumps({**description, **values}))

    changed(largest_side=96)
    with pytest.raises(InputError, match=r"120 x 90 .* with 128 x 96, .* sides of up to 96"):
        ExportedModel.open(exported).segment(picture_of(90, 120))
    changed(checkpoint="another")
    with pytest.raises(InputError, match="made with another checkpoint"):
        ExportedModel.open(exported)
    changed(format=99)
    with pytest.raises(InputError, match=r"has format 99, this version reads 1"):
        ExportedModel.open(exported)
    changed()
    (exported / "crops.onnx").write_bytes((exported / "crops.onnx").read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"crops\.onnx cannot be read"):
        ExportedModel.open(exported)
