"""What the machine is and what it can do: the floor that a stage's time is compared to."""

import time
from collections.abc import Callable, Sequence
from datetime import date

import torch

from scan_core.models.cpu_linear import about_processor


def described(device: torch.device) -> str:
    """Processor or GPU, threads, PyTorch and the day: what a printed time belongs to."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        capability = torch.backends.cpu.get_cpu_capability()
        name = f"{about_processor('model name')}, {capability}, {torch.get_num_threads()} threads"
    return f"{name}; PyTorch {torch.__version__}; {date.today()}"


def seconds(
    work: Callable[[], object],
    device: torch.device,
    least: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Shortest time of a few runs, after one that does not count.

    Args:
        work: what is timed.
        device: waited for before and after.
        least: seconds to spend at least; one run is counted in any case.
        clock: `time.process_time` on a busy machine.
    """

    def once() -> float:
        wait_for(device)
        start = clock()
        work()
        wait_for(device)
        return clock() - start

    once()
    best, spent = float("inf"), 0.0
    while best == float("inf") or spent < least:
        duration = once()
        best, spent = min(best, duration), spent + duration
    return best


def wait_for(device: torch.device) -> None:
    """Let everything that was asked of a GPU be done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown, which docs/model.md can take as it is.

    Args:
        header: of the columns; all but the first are numbers.
        rows: of cells.
    """
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    rule = [f"{'-' * (width - 1)}:" for width in widths]
    rule[0] = "-" * widths[0]
    for row in (header, rule, *rows):
        _, *numbers = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print(f"| {' | '.join((row[0].ljust(widths[0]), *numbers))} |")


def product_rate(
    dtype: torch.dtype, device: torch.device, clock: Callable[[], float] = time.perf_counter
) -> float:
    """FLOP/s of a large matrix product, by PyTorch's `@`."""
    side = 4096 if device.type == "cpu" else 8192
    a = torch.randn(side, side, device=device, dtype=dtype)
    return 2 * side**3 / seconds(lambda: a @ a, device, 1.0, clock)
