"""Images a second and memory, of inference and of a training step, with and without compilation."""

from dataclasses import dataclass, replace

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.inference import peak_memory
from benchmarks.machine import seconds, wait_for
from benchmarks.training_step import TrainingStep
from scan_core.inference.class_map import class_maps
from scan_core.inference.scan import Scan
from scan_core.params.schema.recipe import Recipe
from scan_core.params.settings import Precision, resolve_settings

CLASSES = 150
_LEAST = 3.0  # seconds that a speed is measured for


@dataclass(frozen=True)
class Speed:
    """Of one kind of work.

    Attributes:
        work: its name.
        precision: of it.
        compiled: whether the networks were compiled.
        rate: images a second.
        memory: GiB at most.
        busy: share of the time in which a kernel runs; None: not on a GPU.
    """

    work: str
    precision: str
    compiled: bool
    rate: float
    memory: float
    busy: float | None


def inference(recipe: Recipe, device: str, precision: Precision, compiled: bool) -> Speed:
    """An image of random pixels, with a crop of every proposal, from array to class map."""
    torch.manual_seed(0)
    _forget_peak()
    scan = Scan.from_recipe(recipe, device=device)
    settings = replace(
        resolve_settings(recipe), precision=precision, mask_threshold=0.0, crop_threshold=0.0
    )
    if compiled:
        scan.network.proposal_network.compile()
    height, width = settings.short_side, settings.short_side * 4 // 3
    picture = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8).numpy()
    text = torch.randn(CLASSES + 1, scan.network.no_object_embedding.shape[1], device=device)

    def work() -> None:
        (seen,) = scan.encode([picture], [settings])
        scores = scan.score(seen, text, settings)
        class_maps(seen.masks((height, width)), [scores], (height, width))

    where = torch.device(device)
    rate = 1 / seconds(work, where, _LEAST)
    return Speed("inference", precision, compiled, rate, peak_memory(where), _busy(work, where))


def training_step(
    recipe: Recipe, device: str, precision: Precision, compiled: bool, batch: int
) -> Speed:
    """A step of the segmenter's training."""
    _forget_peak()
    step = TrainingStep(recipe, device, getattr(torch, precision), batch, compiled)
    rate = batch / seconds(step, step.device, _LEAST)
    memory, busy = peak_memory(step.device), _busy(step, step.device)
    return Speed(f"training step of {batch}", precision, compiled, rate, memory, busy)


def _busy(work: object, device: torch.device) -> float | None:
    """Share of the time in which a kernel runs; kernels of one stream do not overlap."""
    if device.type != "cuda":
        return None
    assert callable(work)
    wait_for(device)
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        duration = seconds(work, device)
    kernels = sum(event.self_device_time_total for event in profiled.key_averages())
    return float(kernels) / 1e6 / (2 * duration)  # the run that `seconds` does not count, too


def _forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
