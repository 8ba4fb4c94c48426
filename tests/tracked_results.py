"""Results of a recipe as the workflow leaves them, small, and what the rule says of them."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from project import ROOT
from safetensors.numpy import save_file

from scan_core.params.metric_names import METRICS
from scan_core.params.reading import override, read_params
from scan_core.params.schema.recipe import Recipe

BENCHMARKS = ["mini_ade_36", "mini_voc_10b"]
STEPS = range(10, 310, 10)
STAGES = ("clip", "segmenter", "finetuned_clip")


def settings() -> dict:
    document = read_params(ROOT / "params.yaml")["recipes"]["mini"]
    document = override(document, "inference.benchmarks", BENCHMARKS)
    return Recipe.model_validate(document).model_dump()


def curve() -> str:
    """The record of a training."""
    rows = [{"step": s, "loss": 8 / s, "learning_rate": 1e-3 - 1e-6 * s} for s in STEPS]
    rows.append({"step": STEPS[-1], "validation_miou": 0.25})
    return "".join(json.dumps(row) + "\n" for row in rows)


def points(name: str) -> dict[int, float]:
    rows = [json.loads(line) for line in curve().splitlines()]
    return {row["step"]: row[name] for row in rows if name in row}


def numbers(miou: float) -> dict[str, float]:
    return {name: round(miou * (1 - number / 20), 6) for number, name in enumerate(METRICS)}


def write_results(folder: Path, weights: tuple[float, ...], model: Path | None) -> Path:
    """Everything that `mlflow_sync` reads; the file that says what there is.

    Args:
        folder: of the project.
        weights: of CLIP, that a grid varies, with two seeds.
        model: a checkpoint, for the report; None: without the report.
    """
    results = folder / "results/mini"
    splits = {"train": {"images": 60}, "val": {"images": 8}}
    benchmarks = {name: {"splits": splits} for name in ("mini_coco_24", *BENCHMARKS)}
    manifest = results / "dataset_manifest.json"
    _write(manifest, json.dumps({"hash": "0123456789ab", "benchmarks": benchmarks}))
    trainings = [_training(folder, stage, seed) for stage in STAGES for seed in (0, 1)]
    table, figure = results / "ablations/every_seed/weight.csv", results / "weight.png"
    _picture(figure)
    cells = itertools.product(weights, (0, 1), BENCHMARKS)
    rows = [
        {"grid": "weight", "seed": seed, "benchmark": name, "inference.clip_weight": weight}
        | numbers(0.2 + 0.1 * weight + 0.01 * seed)
        | {"baseline": "false"}
        for weight, seed, name in cells
    ]
    table.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(table, index=False)
    document = {
        "recipe": "mini",
        "settings": settings(),
        "manifest": str(manifest),
        "trainings": trainings,
        "grids": [{"table": str(table), "figure": str(figure)}],
        "report": _report(results, model) if model else None,
    }
    path = folder / "runs.json"
    _write(path, json.dumps(document))
    return path


def _training(folder: Path, stage: str, seed: int) -> dict:
    variant = f"seed={seed}-0a1b2c3d"
    weights = folder / "results/stages" / stage / variant / "weights.safetensors"
    _write(weights.with_name("metrics.jsonl"), curve())
    part = {"seed": seed, "clip": {"source": "train"}, "segmenter": None}
    header = {"recipe_part": part, "versions": {"torch": "2.5.1"}, "commit": "c0ffee"}
    save_file({"a": np.ones(1)}, weights, {"scan": json.dumps(header)})
    timing = folder / f"results/mini/timings/{stage}/{variant}.tsv"
    _write(timing, "s\th:m:s\tmax_rss\tmean_load\n90.5\t0:01:30\t1599.02\t144.75\n")
    return {"weights": str(weights), "timing": str(timing)}


def _report(results: Path, model: Path) -> dict:
    evaluations, pictures = {}, []
    for benchmark in BENCHMARKS:
        folder = results / f"eval/seed=0-0a1b2c3d/{benchmark}-4e5f6a7b"
        scores = {"combined": 0.3, "in_vocabulary": 0.2, "clip_only": 0.25, "chance": 0.01}
        by_classifier = {name: numbers(value) for name, value in scores.items()}
        record = {"timing": {"seconds": 4.5}, "results": by_classifier}
        _write(folder / "metrics.json", json.dumps(record))
        _write(folder / "per_class.csv", "id,name,seen,iou\n0,sky,true,0.5\n1,sea,false,\n")
        evaluations[benchmark] = str(folder / "metrics.json")
        pictures.append(str(results / f"qualitative/{benchmark}.png"))
        _picture(Path(pictures[-1]))
    _write(results / "tables/main.md", "# Mean IoU\n")
    given = results / "predictions/catseg/metrics.json"
    theirs = {"timing": {"seconds": 1.0}, "results": {"combined": numbers(0.35)}}
    _write(given, json.dumps(theirs))
    return {
        "variant": "seed=0-0a1b2c3d",
        "weights": str(model),
        "evaluations": evaluations,
        "predictions": {"catseg": {BENCHMARKS[0]: str(given)}},
        "artifacts": {"pictures": pictures, "tables": [str(results / "tables")]},
    }


def _picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), "red").save(path)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
