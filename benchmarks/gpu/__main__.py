"""Everything that is to be known about this project on a GPU, in at most eight minutes.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --device cpu --recipes mini --steps 8 --batch 2 --no-compile  # a trial

1. Whether its results are the CPU's, in float32 without TF32, with TF32, and in bfloat16.
2. Images a second and memory of inference and of a training step, with and without
   `torch.compile`; each ratio is to plain float32 in the same run.
3. A training on drawn images by the workflow's own script: undisturbed, and killed and continued.
4. With two GPUs, the same training on both.

It ends with one table and a verdict, and with status 1 where a result is not the CPU's, a training
does not go on after a kill, or two processes train another model than one.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.gpu.parity import ALLOWED, compare
from benchmarks.gpu.speed import Speed, inference, training_step
from benchmarks.gpu.training import Training
from scan_core.params.reading import read_params, validate
from scan_core.params.schema.recipe import Recipe
from scan_core.params.settings import Precision

# Relative difference of the mean loss of the last quarter: sums on a GPU have no fixed order.
_LIKE = 0.1


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--recipes", nargs="+", default=["vitb16", "vitl14"])
    parser.add_argument("--steps", type=int, default=200, help="of each training")
    parser.add_argument("--batch", type=int, default=8, help="images of a training step")
    parser.add_argument(
        "--no-compile", action="store_true", help="leave torch.compile out, which takes minutes"
    )
    options = parser.parse_args()
    started = time.monotonic()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit(
            "error: PyTorch sees no GPU here; `--device cpu --recipes mini` is a trial without"
        )
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    recipes = validate(read_params(Path("params.yaml"))).recipes
    lines = [f"{name}, PyTorch {torch.__version__}, {time.strftime('%Y-%m-%d')}", ""]
    wrong = _parity(options.device, lines)
    for recipe in options.recipes:
        ways = (False,) if options.no_compile else (False, True)
        _speeds(recipe, recipes[recipe], options.device, options.batch, ways, lines)
    wrong += _trainings(recipes[options.recipes[0]], options.steps, options.batch, lines)
    lines.append("")
    lines.append(f"{time.monotonic() - started:.0f} s in all.")
    lines.append("Wrong: " + "; ".join(wrong) if wrong else "All results are as they should be.")
    print("\n".join(["", *lines]))
    sys.exit(bool(wrong))


def _parity(device: str, lines: list[str]) -> list[str]:
    lines += [
        "| precision | largest difference to the CPU | allowed | equal pixels | allowed |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    wrong = []
    for precision, difference, equal, right in compare(device):
        most, least = ALLOWED[precision]
        lines.append(f"| {precision} | {difference:.1e} | {most:.0e} | {equal:.3%} | {least:.1%} |")
        if not right:
            wrong.append(f"{precision} differs from the CPU")
    return wrong


def _speeds(
    name: str, recipe: Recipe, device: str, batch: int, ways: tuple[bool, ...], lines: list[str]
) -> None:
    lines += [
        "",
        f"| {name} | precision | compiled | images/s | × float32 | GiB | in kernels |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    of_inference: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")
    of_training: tuple[Precision, ...] = ("float32", "bfloat16")
    _rows([inference(recipe, device, p, c) for c in ways for p in of_inference], lines)
    _rows(
        [training_step(recipe, device, p, c, batch) for c in ways for p in of_training],
        lines,
    )


def _rows(speeds: list[Speed], lines: list[str]) -> None:
    for speed in speeds:
        busy = "–" if speed.busy is None else f"{speed.busy:.0%}"
        lines.append(
            f"| {speed.work} | {speed.precision} | {'yes' if speed.compiled else 'no'} | "
            f"{speed.rate:.2f} | {speed.rate / speeds[0].rate:.1f} | {speed.memory:.1f} | {busy} |"
        )


def _trainings(recipe: Recipe, steps: int, batch: int, lines: list[str]) -> list[str]:
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        training = Training(Path(folder), recipe, steps, batch)
        whole, duration = training.run("whole")
        lines += ["", f"A training of {steps} steps of {batch} images: {duration:.0f} s, loss "]
        lines[-1] += f"{whole[0]:.1f} → {_last(whole):.1f}"
        others = {"killed and continued": (1, True)}
        if torch.cuda.device_count() > 1:
            others["on two GPUs"] = (2, False)
        for what, (devices, kill) in others.items():
            losses, duration = training.run(what.replace(" ", "_"), devices, kill)
            lines.append(f"{what}: {duration:.0f} s, loss {losses[0]:.1f} → {_last(losses):.1f}")
            alike = abs(_last(losses) / _last(whole) - 1) < _LIKE
            if len(losses) != len(whole) or not alike:
                wrong.append(f"the training {what} is another one")
    return wrong


def _last(losses: list[float]) -> float:
    """Mean of the last quarter."""
    part = losses[-max(1, len(losses) // 4) :]
    return sum(part) / len(part)


if __name__ == "__main__":
    main()
