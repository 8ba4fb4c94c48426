"""Speed of one training step of the segmenter, stage by stage.

    python -m benchmarks.training_step                       # ViT-B/16, one 640 × 640 image
    python -m benchmarks.training_step --recipe mini --batch 4

Random weights and targets. Operators are those that PyTorch executes. The floor is a stage's FLOPs
at the rate of a large matrix product (`@`) in the same run, on a CPU in processor time. The ratio
compares with a step by public libraries in float32, measured in the same run
(benchmarks/public_libraries.py).
"""

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.inference import peak_memory
from benchmarks.machine import described, print_table, product_rate, wait_for
from benchmarks.public_libraries import PublicLibraries
from scan_core.models.build import architecture_of, build_network
from scan_core.models.cpu_linear import convolutional_linear
from scan_core.models.preprocessing import backbone_input, resize_for_clip
from scan_core.params.command_line import keep_freed_memory
from scan_core.params.reading import read_params, validate
from scan_core.params.schema.recipe import Recipe
from scan_core.training.criterion import SetCriterion, Target, draw_points
from scan_core.training.loop import optimizer_step
from scan_core.training.segmenter import build_adamw

MASKS = 10
STEPS = 10


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
            **self.loss.model_dump(exclude={"oversample_ratio", "importance_ratio"})
        )
        self.optimizer = build_adamw(
            self.network, self.training.learning_rate, self.training.weight_decay
        )
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]

        self.stages = Stages(self.device)
        self.stages.watch(self.network, "view", "frozen CLIP")
        self.stages.watch(self.network, "embed", "semantic integration")
        for name in ("backbone", "pixel_decoder", "mask_decoder"):
            module = getattr(self.network.proposal_network, name)
            self.stages.watch(module, "forward", name.replace("_", " "))

    def __call__(self) -> dict[str, float]:
        """Take one; returns the seconds of each stage."""
        device, training, stage = self.device, self.training, self.stages
        stage.begin()
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            view = resize_for_clip(self.images, self.network.original_clip.input, as_released=False)
            logits, proposals = self.network(backbone_input(self.images), view, self.text, 100.0)
        with stage("losses"):
            draws = draw_points(
                lambda shape: torch.rand(shape, device=device),
                len(logits),
                self.batch,
                MASKS * self.batch,
                self.loss.points,
                self.loss.oversample_ratio,
                self.loss.importance_ratio,
            )
            with mock.patch.object(SetCriterion, "match", stage("matching")(SetCriterion.match)):
                losses = self.criterion(logits, proposals, self.targets, draws)
        with stage("backward"):
            losses.total.backward()
        with stage("clipping and AdamW"):
            optimizer_step(
                self.optimizer, self.parameters, training.learning_rate, training.gradient_clip
            )
        stage.end()
        return dict(stage.seconds)


class Stages:
    """Times, operators and FLOPs, each attributed to the innermost stage.

    Args:
        device: waited for at the beginning and end of each stage.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.flops_so_far: Callable[[], int] = lambda: 0
        self.begin()

    def begin(self) -> None:
        """Forget everything, and start with what is in no stage."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.processor: defaultdict[str, float] = defaultdict(float)
        self.operators, self.flops = Counter[str](), Counter[str]()
        self.current = ["input"]
        self.since = self._now()

    def end(self) -> None:
        """Attribute what has passed since the last change of stages."""
        self._attribute()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Be in a stage."""
        self._attribute()
        self.current.append(name)
        yield
        self._attribute()
        self.current.pop()

    def watch(self, module: nn.Module, method: str, name: str) -> None:
        """Make a method of a module a stage."""
        setattr(module, method, self(name)(getattr(module, method)))

    def _attribute(self) -> None:
        now, name = self._now(), self.current[-1]
        self.seconds[name] += now[0] - self.since[0]
        self.processor[name] += now[1] - self.since[1]
        self.flops[name] += now[2] - self.since[2]
        self.since = self._now()

    def _now(self) -> tuple[float, float, int]:
        wait_for(self.device)
        return time.perf_counter(), time.process_time(), self.flops_so_far()


class OperatorCounter(TorchDispatchMode):
    """Counts what PyTorch executes in each stage."""

    def __init__(self, stages: Stages) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stages = stages

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.stages.operators[self.stages.current[-1]] += 1
        return func(*args, **(kwargs or {}))


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
    device, stages = step.device, step.stages
    print(described(device))
    theirs = library_seconds(recipe, step) if isinstance(recipe.clip.architecture, str) else None
    keep_freed_memory()  # as our commands do, and what the libraries leave as it is
    runs = []
    with convolutional_linear(step.network):
        with FlopCounterMode(display=False) as counter:
            stages.flops_so_far = counter.get_total_flops
            step()
        flops, stages.flops_so_far = stages.flops, lambda: 0
        with OperatorCounter(stages):
            step()
        operators = stages.operators
        for _ in range(STEPS):
            step()
            runs.append((stages.processor, stages.seconds))
    processor, seconds = (
        {name: min(run[name] for run in clocked) for name in operators}
        for clocked in zip(*runs, strict=True)
    )
    on_cpu = device.type == "cpu"
    rate = product_rate(dtype, device, time.process_time if on_cpu else time.perf_counter)
    print(
        f"{options.recipe}, batch {options.batch} of {step.side} × {step.side}, "
        f"{options.precision}, {device}: @ runs at {rate / 1e9:.0f} GFLOP/s"
    )
    clock = processor if on_cpu else seconds
    rows = [
        (name, operators[name], seconds[name], processor[name], clock[name], flops[name])
        for name in seconds
    ]
    rows.append(("a step", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
    print_table(
        ("stage", "operators", "ms", "processor ms", "× floor"),
        [
            (
                name,
                f"{count:,}",
                f"{wall * 1e3:.1f}",
                f"{cpu * 1e3:.1f}",
                f"{taken * rate / work:.1f}" if work else "",
            )
            for name, count, wall, cpu, taken, work in rows
        ],
    )
    if theirs is not None:
        own = sum(seconds.values())
        print(f"public libraries: {theirs:.3f} s, ratio {own / theirs:.2f}")
    print(f"peak memory, libraries included: {peak_memory(device):.1f} GiB")


def library_seconds(recipe: Recipe, step: TrainingStep) -> float:
    """Of the same step by public libraries, in float32."""
    libraries = PublicLibraries(recipe, step.device)
    optimizer = torch.optim.AdamW(libraries.proposals.parameters(), lr=1e-4)
    images, masks = torch.stack(step.images), step.targets[0].masks
    return min([libraries.train(images, masks, optimizer) for _ in range(STEPS)][1:])


if __name__ == "__main__":
    main()
