"""Speed of one training step of the segmenter, part by part.

    python -m benchmarks.training_step                       # ViT-B/16, one 640 × 640 image
    python -m benchmarks.training_step --recipe mini --batch 8

Random weights and targets. The floor is the step's FLOPs, forwards and backwards, at the rate of
a large matrix product (`@`) in the same run. `released` is the time of the released
implementation on an idle two-core machine, for the ratio scaled to this machine's product rate.
"""

import argparse
import time
from itertools import pairwise
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.inference import peak_memory
from benchmarks.machine import product_rate, wait_for
from scan_core.models.build import architecture_of, build_network
from scan_core.models.cpu_linear import ConvolutionalLinear
from scan_core.models.preprocessing import backbone_input, clip_view
from scan_core.params.reading import read_params, validate
from scan_core.training.criterion import SetCriterion
from scan_core.training.matcher import Target
from scan_core.training.optimizer import build_adamw, take_step
from scan_core.training.points import draw_points

MASKS = 10
STEPS = 4
RELEASED, RELEASED_RATE = 17.7, 176e9  # seconds for ViT-B, one image; FLOP/s


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
    device, dtype = torch.device(options.device), getattr(torch, options.precision)
    recipe = validate(read_params(Path("params.yaml"))).recipes[options.recipe]
    torch.manual_seed(0)
    network = build_network(architecture_of(recipe.segmenter, recipe.clip)).to(device).train()
    side, loss = recipe.segmenter.augmentation.crop_size, recipe.segmenter.loss
    images = list(
        torch.randint(0, 256, (options.batch, 3, side, side), dtype=torch.uint8, device=device)
    )
    coarse = torch.rand(MASKS, 1, 16, 16, device=device) > 0.5
    masks = F.interpolate(coarse.float(), (side, side))[:, 0] > 0.5
    targets = [Target(torch.arange(MASKS, device=device), masks)] * options.batch
    text = F.normalize(torch.randn(171, network.no_object_embedding.shape[1], device=device))
    criterion = SetCriterion(
        loss.class_weight, loss.mask_weight, loss.dice_weight, loss.no_object_weight, loss.points
    )
    training = recipe.segmenter.training
    optimizer = build_adamw(network, training.learning_rate, training.weight_decay)
    parameters = [p for p in network.parameters() if p.requires_grad]
    clip_size = network.original_clip.input

    def step() -> dict[str, float]:
        marks = {"start": _now(device)}
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            view = clip_view(images, clip_size, as_released=False)
            logits, proposals = network(backbone_input(images), view, text, 100.0)
        marks["forward"] = _now(device)
        draws = draw_points(
            lambda shape: torch.rand(shape, device=device),
            len(logits),
            options.batch,
            MASKS * options.batch,
            loss.points,
            loss.oversample_ratio,
            loss.importance_ratio,
        )
        losses = criterion(logits, proposals, targets, draws)
        marks["matching and losses"] = _now(device)
        losses.total.backward()
        marks["backward"] = _now(device)
        take_step(optimizer, parameters, training.learning_rate, training.gradient_clip)
        marks["optimizer"] = _now(device)
        times = list(marks.items())
        return {b[0]: b[1] - a[1] for a, b in pairwise(times)}

    with ConvolutionalLinear(network):
        with FlopCounterMode(display=False) as counter:
            step()
        runs = [step() for _ in range(STEPS)]
    best = min(runs, key=lambda run: sum(run.values()))
    total, rate = sum(best.values()), product_rate(dtype, device)
    floor = counter.get_total_flops() / rate
    print(
        f"{options.recipe}, batch {options.batch} of {side} × {side}, {options.precision}, "
        f"{device}: @ runs at {rate / 1e9:.0f} GFLOP/s"
    )
    for part, duration in best.items():
        print(f"{part:<22} {duration:8.3f} s {duration / total:6.1%}")
    print(
        f"{'a step':<22} {total:8.3f} s, {options.batch / total:.2f} images/s, "
        f"{total / floor:.2f} times the floor, {peak_memory(device):.1f} GiB"
    )
    if (options.recipe, options.batch, device.type) == ("vitb16", 1, "cpu"):
        scaled = total * product_rate(torch.float32, device) / RELEASED_RATE
        print(
            f"released: {RELEASED} s; ratio {total / RELEASED:.2f}, "
            f"scaled to this machine's float32 rate {scaled / RELEASED:.2f}"
        )


def _now(device: torch.device) -> float:
    wait_for(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
