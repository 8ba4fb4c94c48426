"""Speed of one training step of the segmenter, part by part.

    python -m benchmarks.training_step                       # ViT-B/16, one 640 × 640 image
    python -m benchmarks.training_step --recipe mini --batch 8

Random weights and targets. The floor is the step's FLOPs, forwards and backwards, at the rate of
a large matrix product (`@`) in the same run. The ratio compares with a step by public libraries in
float32, measured in the same run (benchmarks/public_libraries.py).
"""

import argparse
import time
from itertools import pairwise
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.inference import peak_memory
from benchmarks.machine import described, print_table, product_rate, wait_for
from benchmarks.public_libraries import PublicLibraries
from scan_core.command.freed_memory import keep_freed_memory
from scan_core.models.build import architecture_of, build_network
from scan_core.models.cpu_linear import ConvolutionalLinear
from scan_core.models.preprocessing import backbone_input, clip_view
from scan_core.params.reading import read_params, validate
from scan_core.params.schema.recipe import Recipe
from scan_core.training.criterion import SetCriterion, Target, draw_points
from scan_core.training.loop import optimizer_step
from scan_core.training.segmenter import build_adamw

MASKS = 10
STEPS = 4


class TrainingStep:
    """A step of the segmenter's training, on random images and targets.

    Args:
        recipe: whose network is trained.
        device: in PyTorch's words.
        dtype: of autocast; float32: none.
        batch: images.
        compiled: whether the networks are compiled.
    """

    def __init__(
        self, recipe: Recipe, device: str, dtype: torch.dtype, batch: int, compiled: bool = False
    ) -> None:
        self.device, self.dtype, self.batch = torch.device(device), dtype, batch
        torch.manual_seed(0)
        architecture = architecture_of(recipe.segmenter, recipe.clip)
        self.network = build_network(architecture).to(device).train()
        if compiled:
            self.network.proposal_network.compile()
        self.side, self.loss = recipe.segmenter.augmentation.crop_size, recipe.segmenter.loss
        self.training = recipe.segmenter.training
        self.images = list(
            torch.randint(0, 256, (batch, 3, self.side, self.side), dtype=torch.uint8).to(device)
        )
        coarse = torch.rand(MASKS, 1, 16, 16, device=device) > 0.5
        masks = F.interpolate(coarse.float(), (self.side, self.side))[:, 0] > 0.5
        self.targets = [Target(torch.arange(MASKS, device=device), masks)] * batch
        width = self.network.no_object_embedding.shape[1]
        self.text = F.normalize(torch.randn(171, width, device=device))
        self.criterion = SetCriterion(
            self.loss.class_weight,
            self.loss.mask_weight,
            self.loss.dice_weight,
            self.loss.no_object_weight,
            self.loss.points,
        )
        self.optimizer = build_adamw(
            self.network, self.training.learning_rate, self.training.weight_decay
        )
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]

    def __call__(self) -> dict[str, float]:
        """Take one; returns the seconds of each part."""
        device, training = self.device, self.training
        marks = {"start": _now(device)}
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            view = clip_view(self.images, self.network.original_clip.input, as_released=False)
            logits, proposals = self.network(backbone_input(self.images), view, self.text, 100.0)
        marks["forward"] = _now(device)
        draws = draw_points(
            lambda shape: torch.rand(shape, device=device),
            len(logits),
            self.batch,
            MASKS * self.batch,
            self.loss.points,
            self.loss.oversample_ratio,
            self.loss.importance_ratio,
        )
        losses = self.criterion(logits, proposals, self.targets, draws)
        marks["matching and losses"] = _now(device)
        losses.total.backward()
        marks["backward"] = _now(device)
        optimizer_step(
            self.optimizer, self.parameters, training.learning_rate, training.gradient_clip
        )
        marks["optimizer"] = _now(device)
        return {b[0]: b[1] - a[1] for a, b in pairwise(marks.items())}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="vitb16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    recipe = validate(read_params(Path("params.yaml"))).recipes[options.recipe]
    dtype = getattr(torch, options.precision)
    step = TrainingStep(recipe, options.device, dtype, options.batch)
    device = step.device
    print(described(device))
    theirs = library_seconds(recipe, step) if isinstance(recipe.clip.architecture, str) else None
    keep_freed_memory()  # as our commands do, and what the libraries leave as it is
    with ConvolutionalLinear(step.network):
        with FlopCounterMode(display=False) as counter:
            step()
        runs = [step() for _ in range(STEPS)]
    best = min(runs, key=lambda run: sum(run.values()))
    total, rate = sum(best.values()), product_rate(dtype, device)
    floor = counter.get_total_flops() / rate
    print(
        f"{options.recipe}, batch {options.batch} of {step.side} × {step.side}, "
        f"{options.precision}, {device}: @ runs at {rate / 1e9:.0f} GFLOP/s"
    )
    print_table(
        ("part", "seconds", "share"),
        [(part, f"{taken:.3f}", f"{taken / total:.1%}") for part, taken in best.items()],
    )
    print(
        f"a step: {total:.3f} s, {options.batch / total:.2f} images/s, "
        f"{total / floor:.2f} times the floor"
    )
    if theirs is not None:
        print(f"public libraries: {theirs:.3f} s, ratio {total / theirs:.2f}")
    print(f"peak memory, libraries included: {peak_memory(device):.1f} GiB")


def library_seconds(recipe: Recipe, step: TrainingStep) -> float:
    """Of the same step by public libraries, in float32."""
    libraries = PublicLibraries(recipe, step.device)
    optimizer = torch.optim.AdamW(libraries.proposals.parameters(), lr=1e-4)
    images, masks = torch.stack(step.images), step.targets[0].masks
    return min([libraries.train(images, masks, optimizer) for _ in range(STEPS)][1:])


def _now(device: torch.device) -> float:
    wait_for(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
