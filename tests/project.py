"""A copy of the project in a folder of its own, and recipes that are reduced for tests."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from ruamel.yaml import YAML

from scan_core.params.data_names import benchmark_folder
from scan_core.params.grid import cell_of
from scan_core.params.reading import read_params, validate

ROOT = Path(__file__).parents[1]
# MLflow's store says where it lies, so a copied project begins one of its own.
STORE = shutil.ignore_patterns("mlflow.db*", "mlruns")
REAL = ROOT.parent / "shared/real"
MINI = (
    "mini_coco_24",
    "mini_ade_36",
    "mini_ade_87",
    "mini_voc_10",
    "mini_voc_10b",
    "mini_context_24",
    "mini_context_50",
)


BENCHMARKS = ["mini_ade_36", "mini_voc_10b"]
LAYERS = [[1], [2], [1, 2], [1, 2, 3]]


class Project:
    """A copy of the project's files, without results, in a folder of its own."""

    def __init__(self, folder: Path):
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", ".", ":!results/*/"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        for name in listed:
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        self.folder = folder

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["snakemake", *arguments],
            cwd=self.folder,
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def edit(self, change) -> None:
        yaml = YAML()
        yaml.width = 10_000  # lines stay as long as they are
        params = yaml.load(self.folder / "params.yaml")
        change(params)
        yaml.dump(params, self.folder / "params.yaml")

    def make(self, *arguments: str) -> str:
        """What Snakemake says of a run with the profile `local`, which must succeed."""
        ran = self.snakemake("--profile", "local", *arguments)
        assert ran.returncode == 0, ran.stdout
        return ran.stdout

    @contextmanager
    def edited(self, change):
        """As long as the block lasts, other parameters."""
        text = (self.folder / "params.yaml").read_text()
        self.edit(change)
        try:
            yield
        finally:
            (self.folder / "params.yaml").write_text(text)

    @contextmanager
    def forgetful(self):
        """As long as the block lasts, without what Snakemake remembers, as in a copy."""
        memory = self.folder / ".snakemake"
        away = memory.rename(self.folder / "away")
        try:
            yield
        finally:
            shutil.rmtree(memory, ignore_errors=True)
            away.rename(memory)

    @property
    def params(self):
        return validate(read_params(self.folder / "params.yaml"))

    @property
    def recipe(self):
        return self.params.recipes[self.params.recipe]

    def stage(self, stage: str) -> Path:
        """Where the recipe's own variant of a stage lies."""
        return self.folder / "results/stages" / stage / cell_of(self.recipe).names[stage]

    def benchmark(self, name: str) -> Path:
        """The folder of a converted benchmark."""
        return self.folder / benchmark_folder(self.recipe, name)

    def evaluation(self, benchmark: str) -> Path:
        """The folder of the last evaluation of the recipe's own model."""
        model = self.folder / "results/mini/eval" / self.stage("model").name
        return max(model.glob(f"{benchmark}-*"), key=lambda folder: folder.stat().st_mtime)

    def jobs(self, *arguments: str) -> dict[str, int]:
        """Number of jobs of each rule that a run would do."""
        ran = self.snakemake("-n", "--quiet", "rules", "--profile", "local", *arguments)
        assert ran.returncode == 0, ran.stdout
        counted = re.findall(r"^(\w+) +(\d+)$", ran.stdout, re.MULTILINE)
        return {rule: int(number) for rule, number in counted if rule != "total"}


def small(params) -> None:
    """Reduce the miniature world to what a test has time for."""
    datasets = params["recipes"]["mini"]["datasets"]
    datasets["miniworld"].update(training_images=12, tuning_images=3, test_images=8)
    for name, benchmark in datasets["benchmarks"].items():
        benchmark["images"] = {"train": 12 if name == datasets["train"] else 3, "val": 8}


def reduced(params) -> None:
    """Few images, few steps: numbers mean nothing, the path is the real one."""
    small(params)
    grids = params["ablations"]
    for name in set(grids) - {"ensemble_weight", "components", "parts"}:
        del grids[name]
    grids["layers"] = {
        "recipe": "mini",
        "vary": {"inference.replace_layers": LAYERS},
        "fixed": {"inference.clip_weight": 1.0},  # CLIP alone, which the shift changes
    }
    for grid in grids.values():
        grid["seeds"] = [0]
    params["searches"] = {"settings": params["searches"]["settings"]}
    params["searches"]["settings"].update(trials=12, benchmarks=BENCHMARKS)
    recipe = params["recipes"]["mini"]
    recipe["grids"] = ["ensemble_weight"]
    # The weight is one of the grid's, and the shift is strong enough to be seen in few images.
    recipe["inference"].update(benchmarks=BENCHMARKS, clip_weight=0.75, replace_ratio=1.0)
    recipe["clip"]["source"] = "train"
    recipe["clip"]["pretraining"].update(
        images=60, cutouts=20, steps=4, cutout_steps=2, batch_size=12, warmup_steps=1
    )
    recipe["segmenter"]["training"].update(
        steps=4, batch_size=2, warmup_steps=1, checkpoint_every=2, validate_every=4
    )
    recipe["clip_finetune"]["pairs"]["images"] = 6
    recipe["clip_finetune"].update(epochs=1, batch_size=4)
    for name in ("vitb16", "vitl14"):
        params["recipes"][name]["grids"] = []
