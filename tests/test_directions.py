"""Every part of the method, taken out, lowers the number that it is for (recipe `mini_parts`)."""

import json
from statistics import mean

import pandas as pd
import pytest
from project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MIXED = ["mini_ade_87", "mini_context_50", "mini_ade_36", "mini_context_24"]
INTEGRATION = "segmenter.semantic_integration.enabled"
WEIGHT = "inference.clip_weight"


def shorter(params) -> None:
    """A training that is just long enough, tested with and without each part."""
    params["recipe"] = "mini_parts"
    mini = params["recipes"]["mini"]
    mini["datasets"]["miniworld"]["test_images"] = 60
    for benchmark in mini["datasets"]["benchmarks"].values():
        benchmark["images"]["val"] = 60
    mini["segmenter"]["training"].update(steps=400, validate_every=400)
    mini["clip_finetune"]["pairs"]["images"] = 200
    mini["inference"].update(benchmarks=MIXED)
    grid = params["ablations"]["parts"]
    grid["seeds"] = [0]
    del grid["vary"]["clip_finetune.contextual_shift"]  # gains nothing on this world


def test_every_part_gains(tmp_path):
    project = Project(tmp_path)
    project.edit(shorter)
    project.make("results/mini_parts/ablations/parts.csv", "diagnoses")

    grid = pd.read_csv(tmp_path / "results/mini_parts/ablations/parts.csv")
    miou = 100 * grid.groupby([INTEGRATION, WEIGHT])["miou"].mean()
    in_vocabulary, combined, clip = miou[True]
    assert in_vocabulary > miou[False][0] + 1, "semantic integration"
    assert combined > clip + 0.5, "the in-vocabulary classifier"
    assert combined > in_vocabulary + 5, "CLIP on masked crops"

    files = sorted(tmp_path.glob("results/mini_parts/diagnosis/*/*/diagnosis.json"))
    ladders = [{one["rung"]: one for one in json.loads(f.read_text())["ladder"]} for f in files]
    assert len(ladders) == len(MIXED)
    rungs = ("true_masks.original_clip", "true_masks.clip_only")
    before, after = (100 * mean(of[rung]["metrics"]["miou"] for of in ladders) for rung in rungs)
    assert after > before + 2, "fine-tuning with masks"
