"""A training by the workflow's own script: undisturbed, killed and continued, on two devices."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from scan_core.models.build import architecture_of
from scan_core.models.clip import build_clip
from scan_core.params.recipe_part import segmenter_part, write_part
from scan_core.params.schema.recipe import Recipe
from scan_core.storage.weights import save_tensors

_IMAGES = 48
_PATIENCE = 300.0


class Training:
    """Drawn images of a recipe's crop size, a CLIP of random weights, and trainings on them.

    Args:
        folder: for everything that is made.
        recipe: whose segmenter is trained.
        steps: of each training.
        batch: images of a step.
    """

    def __init__(self, folder: Path, recipe: Recipe, steps: int, batch: int) -> None:
        self.folder, self.steps = folder, steps
        document = recipe.model_dump()
        document["segmenter"]["backbone"]["weights"] = "none"
        document["segmenter"]["training"].update(
            steps=steps, batch_size=batch, warmup_steps=10, validate_every=10 * steps,
            checkpoint_every=max(1, steps // 4),
        )  # fmt: skip
        self.recipe = Recipe.model_validate(document)
        side = recipe.segmenter.augmentation.crop_size
        raw, benchmark = folder / "raw", folder / "benchmark"
        self._script(
            "generate_miniworld", "--layout", "coco", "--raw-root", raw, "--seed", 0,
            "--image-size", side, "--images", f"train={_IMAGES}", "val=2",
            "--output", folder / "raw.json",
        )  # fmt: skip
        self._script(
            "convert_benchmark", "--format", "coco_stuff", "--raw-root", raw,
            "--classes", "mini_coco_24", "--name", "drawn", "--splits", "train", "val",
            "--output", benchmark,
        )  # fmt: skip
        self.index, self.clip = benchmark / "index.json", folder / "clip.safetensors"
        torch.manual_seed(0)
        architecture = architecture_of(self.recipe.segmenter, self.recipe.clip)
        clip = build_clip(architecture["clip"], architecture.get("clip_weights"))
        save_tensors(self.clip, clip.state_dict(), {})

    def run(self, name: str, devices: int = 1, kill: bool = False) -> tuple[list[float], float]:
        """Train.

        Args:
            name: of the training.
            devices: processes.
            kill: kill it once, as soon as there is a checkpoint, and go on.

        Returns:
            the loss of every record, and the seconds that it took.
        """
        started = time.monotonic()
        work = self.folder / name / "work"
        if kill:
            process = subprocess.Popen(self._command(name, devices), start_new_session=True)
            until = time.monotonic() + _PATIENCE
            while not (work / "checkpoint.pt").exists() and process.poll() is None:
                if time.monotonic() > until:
                    raise TimeoutError(f"no checkpoint after {_PATIENCE:.0f} s")
                time.sleep(0.05)
            if process.poll() is not None:
                raise RuntimeError("the training ended before it could be killed")
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        subprocess.run(self._command(name, devices), check=True)
        lines = (self.folder / name / "metrics.jsonl").read_text().splitlines()
        losses = [record["loss"] for record in map(json.loads, lines) if "loss" in record]
        return losses, time.monotonic() - started

    def _command(self, name: str, devices: int) -> list[str]:
        folder = self.folder / name
        part = write_part(segmenter_part(self.recipe), folder / "parts")
        return [
            sys.executable, "-m", "workflow_scripts.train_segmenter", "--recipe-part", str(part),
            "--clip", str(self.clip), "--index", str(self.index), "--work", str(folder / "work"),
            "--output", str(folder / "result.safetensors"),
            "--metrics", str(folder / "metrics.jsonl"),
            "--devices", str(devices), "--workers", "4",
        ]  # fmt: skip

    def _script(self, name: str, *arguments: object) -> None:
        command = [sys.executable, "-m", f"workflow_scripts.{name}", *map(str, arguments)]
        subprocess.run(command, check=True)
