"""The full-size ViT-B network on real images: every stage, a few steps of each.

Numbers mean nothing with random weights; the path is the one that the paper's run takes.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from project import REAL, Project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(not REAL.is_dir(), reason="the real images are not at hand"),
]


def _raw_data(folder: Path) -> Path:
    """The real images, as one raw layout.

    The images with captions have no pixel maps; they get one of a single class, so that they are
    among the training images whose captions are mined.
    """
    shutil.copytree(REAL, folder)
    coco = folder / "coco"
    for path in [coco, *coco.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    for image in sorted((coco / "train2017").glob("*.jpg")):
        pixel_map = coco / "stuffthingmaps/train2017" / f"{image.stem}.png"
        if not pixel_map.exists():
            with Image.open(image) as opened:
                Image.new("L", opened.size, 0).save(pixel_map)
    return folder


def _few_steps(params, raw: Path, clip_file: Path) -> None:
    params["recipe"] = "vitb16"
    params["ablations"] = {}
    del params["recipes"]["vitl14"]  # which extends what changes here
    for recipe in params["recipes"].values():
        recipe["grids"] = []
    recipe = params["recipes"]["vitb16"]
    recipe["datasets"].update(
        source=f"local:{raw}",
        benchmarks={
            "coco_stuff_171": {
                "format": "coco_stuff",
                "classes": "coco_stuff_171",
                "images": {"train": None},
            },
            "ade20k_150": {"format": "ade20k_150", "classes": "ade20k_150", "images": {"val": 1}},
        },
    )
    recipe["clip"]["source"] = f"file:{clip_file}"
    recipe["segmenter"]["backbone"]["weights"] = "none"
    recipe["segmenter"]["augmentation"]["crop_size"] = 256
    recipe["segmenter"]["input"]["short_side"] = 320
    recipe["segmenter"]["training"].update(
        steps=2, batch_size=1, warmup_steps=1, precision="32-true"
    )
    recipe["clip_finetune"]["pairs"]["precision"] = recipe["inference"]["precision"] = "float32"
    recipe["clip_finetune"].update(batch_size=2, epochs=1, warmup_steps=1, precision="32-true")
    recipe["clip_finetune"]["pairs"].update(images=2)
    recipe["inference"].update(
        benchmarks=["ade20k_150"],
        short_side=320,
        mask_threshold=0.3,
        clip_weight=0.5,
        replace_ratio=0.05,
        ensemble="geometric",
    )


def test_real_images_go_all_the_way(tmp_path):
    from scan_core.models.clip import build_clip

    torch.manual_seed(0)
    clip_file = tmp_path / "clip.pt"
    torch.save(build_clip("ViT-B-16").state_dict(), clip_file)
    (tmp_path / "project").mkdir()
    project = Project(tmp_path / "project")
    raw = _raw_data(tmp_path / "raw")
    project.edit(lambda params: _few_steps(params, raw, clip_file))
    ran = project.snakemake("--profile", "local", "all")
    assert ran.returncode == 0, ran.stdout
    results = project.folder / "results/vitb16"
    metrics = json.loads((next(results.glob("eval/*/ade20k_150-*/metrics.json"))).read_text())
    assert metrics["images"] == 1
    assert metrics["class_count"] == 150
    assert (results / "qualitative/ade20k_150.png").stat().st_size > 50_000
    statistics = json.loads(
        (next(results.parent.glob("stages/pairs/*/statistics.json"))).read_text()
    )
    assert statistics["images"] == 2
    assert statistics["pairs"] >= 2
    assert "SCAN B" in (results / "tables/published.md").read_text()
