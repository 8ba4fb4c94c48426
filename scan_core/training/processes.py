"""What the processes of one training tell each other."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.distributed import ReduceOp

T = TypeVar("T")


def total(fabric: Fabric, number: float) -> float | Tensor:
    """The sum of a number over all processes.

    Returns:
        where there are several, a scalar on the device: nobody waits for it.
    """
    if fabric.world_size == 1:
        return number
    return _reduced(torch.tensor(number, dtype=torch.float64), fabric, ReduceOp.SUM)


def largest(fabric: Fabric, numbers: Sequence[int]) -> list[int]:
    """The largest of each number over all processes, which wait for each other."""
    if fabric.world_size == 1:
        return list(numbers)
    return [int(n) for n in _reduced(torch.tensor(numbers), fabric, ReduceOp.MAX).tolist()]


def means(fabric: Fabric, numbers: Tensor) -> list[float]:
    """The mean of each number over all processes.

    Args:
        fabric: launched.
        numbers: (N,) on the device.
    """
    if fabric.world_size > 1:
        numbers = _reduced(numbers, fabric, ReduceOp.SUM) / fabric.world_size
    return [float(n) for n in numbers.tolist()]


def everybodys(fabric: Fabric, value: T) -> list[T]:
    """What each process has, in their order.

    Args:
        fabric: launched.
        value: of this process; whatever can be pickled.
    """
    if fabric.world_size == 1:
        return [value]
    gathered: list[T | None] = [None] * fabric.world_size
    torch.distributed.all_gather_object(gathered, value)
    return gathered  # type: ignore[return-value]


def gathered_rows(fabric: Fabric, rows: Tensor) -> Tensor:
    """The rows of all processes, in the order in which `MicroBatches` deals them out.

    The gradient of a loss that every process computes of all rows reaches each process's own
    network, and is right once averaged over the processes.

    Args:
        fabric: launched.
        rows: (B, ...), of this process.

    Returns:
        (processes * B, ...).
    """
    if fabric.world_size == 1:
        return rows
    everything = fabric.all_gather(rows, sync_grads=rows.requires_grad)
    assert isinstance(everything, Tensor)
    return everything.transpose(0, 1).flatten(0, 1)


def _reduced(tensor: Tensor, fabric: Fabric, operation: ReduceOp.RedOpType) -> Tensor:
    # Not by Fabric, which has all processes wait for each other before every sum.
    tensor = tensor.to(fabric.device, copy=True)
    torch.distributed.all_reduce(tensor, operation)
    return tensor
