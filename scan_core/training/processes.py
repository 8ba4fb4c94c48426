"""What the processes of one training tell each other."""

from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor


def total(fabric: Fabric, number: float) -> float:
    """The sum of a number over all processes."""
    if fabric.world_size == 1:
        return number
    return float(_reduced(fabric, torch.tensor(number, dtype=torch.float64), "sum"))


def largest(fabric: Fabric, numbers: Sequence[int]) -> list[int]:
    """The largest of each number over all processes."""
    if fabric.world_size == 1:
        return list(numbers)
    return [int(n) for n in _reduced(fabric, torch.tensor(numbers), "max").tolist()]


def everybodys(fabric: Fabric, names: Sequence[str]) -> list[str]:
    """The names that all processes have, one process after the other."""
    if fabric.world_size == 1:
        return list(names)
    gathered: list[list[str]] = [[] for _ in range(fabric.world_size)]
    torch.distributed.all_gather_object(gathered, list(names))
    return [name for one in gathered for name in one]


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


def _reduced(fabric: Fabric, tensor: Tensor, operation: str) -> Tensor:
    reduced = fabric.all_reduce(tensor.to(fabric.device), reduce_op=operation)
    assert isinstance(reduced, Tensor)
    return reduced
