"""The processes of a training: how they are started, and what they tell each other."""

import logging
import os
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from torch import Tensor
from torch.distributed import ReduceOp

T = TypeVar("T")


def launch_fabric(precision: str, devices: str, nodes: int) -> Fabric:
    """Fabric, with its processes started: by itself, or by `srun`.

    Args:
        precision: in Fabric's words, such as `bf16-mixed`.
        devices: per node: a number, or `auto`.
        nodes: machines.
    """
    accelerator = "auto" if torch.cuda.is_available() else "cpu"
    if accelerator == "cpu" and devices == "auto":
        devices = "1"
    count: int | str = int(devices) if devices.isdecimal() else devices
    # Within a job of SLURM, but not started by srun, Fabric has to start the processes itself.
    by_srun = "SLURM_STEP_NUM_TASKS" in os.environ
    by_nobody = SLURMEnvironment.detect() and not by_srun
    fabric = Fabric(
        accelerator=accelerator,
        devices=count,
        num_nodes=nodes,
        precision=precision,  # type: ignore[arg-type]
        plugins=[LightningEnvironment()] if by_nobody else [],
    )
    fabric.launch()
    if not fabric.is_global_zero:
        logging.getLogger().setLevel(logging.WARNING)
    return fabric


def all_reduce(fabric: Fabric, tensor: Tensor, operation: str) -> Tensor:
    """`sum` or `max` of each element over all processes, on the device.

    Fabric's own method has all processes wait for each other first.
    """
    if fabric.world_size > 1:
        tensor = tensor.to(fabric.device, copy=True)
        torch.distributed.all_reduce(tensor, getattr(ReduceOp, operation.upper()))
    return tensor


def all_gather_object(fabric: Fabric, value: T) -> list[T]:
    """The value of each process, in the order of their ranks; anything that can be pickled."""
    if fabric.world_size == 1:
        return [value]
    gathered: list[T | None] = [None] * fabric.world_size
    torch.distributed.all_gather_object(gathered, value)
    return gathered  # type: ignore[return-value]


def all_gather(fabric: Fabric, rows: Tensor) -> Tensor:
    """The rows of all processes, in the order in which `micro_batches` deals them out.

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
