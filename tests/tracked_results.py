"""Results of a recipe as the workflow leaves them, small, for what is made from them."""

import csv
import json
from pathlib import Path

from PIL import Image

from scan_core.params.grid import STAGES, cell_of, cells_of, rows_of
from scan_core.params.metric_names import METRICS
from scan_core.params.reading import override, read_params
from scan_core.params.schema.grids import Ablation
from scan_core.params.schema.recipe import Recipe
from scan_core.reporting.grids import grid_csv

ROOT = Path(__file__).parents[1]
BENCHMARKS = ["mini_ade_36", "mini_voc_10b"]
STEPS = range(10, 310, 10)


def mini_recipe() -> Recipe:
    document = read_params(ROOT / "params.yaml")["recipes"]["mini"]
    document = override(document, "inference.benchmarks", BENCHMARKS)
    return Recipe.model_validate(override(document, "grids", ["weight"]))


def weight_grid(*weights: float) -> Ablation:
    return Ablation(vary={"inference.clip_weight": list(weights)}, seeds=[0, 1])


def curve(offset: float = 0.0) -> str:
    """The record of a training."""
    rows = [{"step": s, "loss": 8 / s + offset, "learning_rate": 1e-3 - 1e-6 * s} for s in STEPS]
    rows.append({"step": STEPS[-1], "validation_miou": 0.25})
    return "".join(json.dumps(row) + "\n" for row in rows)


def numbers(miou: float) -> dict[str, float]:
    return {name: round(miou * (1 - number / 20), 6) for number, name in enumerate(METRICS)}


def write_results(results: Path, grid: Ablation, model: Path | None) -> None:
    """Everything that `mlflow_sync` reads.

    Args:
        results: folder of the recipe.
        grid: from `weight_grid`.
        model: a checkpoint, to be linked to.
    """
    recipe = mini_recipe()
    splits = {"train": {"images": 60}, "val": {"images": 8}}
    benchmarks = {name: {"splits": splits} for name in ("mini_coco_24", *BENCHMARKS)}
    manifest = {"hash": "0123456789ab", "benchmarks": benchmarks}
    _write(results / "dataset_manifest.json", json.dumps(manifest))
    stages = results.parents[1] / STAGES
    for cell in cells_of(recipe, grid):
        for stage in ("clip", "segmenter", "finetuned_clip"):
            _write(stages / stage / cell.names[stage] / "metrics.jsonl", curve(cell.seed))
        _write(
            results / f"timings/train_segmenter/{cell.names['segmenter']}.tsv",
            "s\th:m:s\tmax_rss\tmean_load\n90.5\t0:01:30\t1599.02\t144.75\n",
        )
    if model is not None and not (link := results / "release/model.safetensors").exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(model)
    rows = []
    for row in rows_of(recipe, grid):
        place = results / f"eval/{row['model']}/{row['benchmark']}/evaluation.json"
        known = json.loads(place.read_text()) if place.exists() else {}
        miou = 0.2 + 0.1 * row["values"]["inference.clip_weight"] + 0.01 * row["seed"]
        _write(place, json.dumps({**known, row["key"]: {"metrics": numbers(miou)}}))
        rows.append({**row, "evaluation": str(place)})
    _write(results / "ablations/every_seed/weight.csv", grid_csv("weight", rows))
    model_name = cell_of(recipe).names["model"]
    for benchmark in BENCHMARKS:
        folder = Path(folders(results)["evaluations"][benchmark])
        ways = {"combined": 0.3, "in_vocabulary": 0.2, "clip_only": 0.25, "chance": 0.01}
        about = {"recipe": "mini", "variant": model_name, "benchmark": benchmark, "class_count": 2}
        ways = {way: numbers(value) for way, value in ways.items()}
        _write(folder / "metrics.json", json.dumps({**about, "images": 8, "results": ways}))
        with (folder / "per_class.csv").open("w") as file:
            csv.writer(file).writerows([["id", "name", "seen", "iou"], [0, "sky", "true", 0.5]])
        for kind in ("qualitative", "figures"):
            (results / kind).mkdir(exist_ok=True)
            Image.new("RGB", (40, 30), "red").save(results / kind / f"{benchmark}.png")
    _write(results / "tables/main.md", "# Mean IoU\n")


def folders(results: Path) -> dict:
    """Where `write_results` puts evaluations, and predictions of other models."""
    model = cell_of(mini_recipe()).names["model"]
    evaluations = {name: f"{results}/eval/{model}/{name}" for name in BENCHMARKS}
    return {"evaluations": evaluations, "predictions": {}}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
