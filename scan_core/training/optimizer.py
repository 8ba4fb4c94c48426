"""Parameter groups, learning-rate schedule and gradient clipping of the released recipe."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import AdamW

_NORMS = (nn.LayerNorm, nn.GroupNorm)


def decayed_and_not(module: nn.Module) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """Trainable parameters by name, with and without weight decay.

    Norms, embedding modules and Swin's relative position biases have none; everything else has,
    biases and plain parameters included, as released.
    """
    decayed: dict[str, nn.Parameter] = {}
    exempt: dict[str, nn.Parameter] = {}
    for prefix, part in module.named_modules():
        for name, parameter in part.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            free = (
                isinstance(part, (*_NORMS, nn.Embedding)) or name == "relative_position_bias_table"
            )
            full = f"{prefix}.{name}" if prefix else name
            (exempt if free else decayed)[full] = parameter
    return decayed, exempt


def build_adamw(module: nn.Module, learning_rate: float, weight_decay: float) -> AdamW:
    """AdamW over the trainable parameters of a module, in the groups of `decayed_and_not`."""
    decayed, exempt = decayed_and_not(module)
    return AdamW(
        [
            {"params": list(decayed.values()), "weight_decay": weight_decay},
            {"params": list(exempt.values()), "weight_decay": 0.0},
        ],
        lr=learning_rate,
        fused=True,
    )


def warmup_poly(
    step: int, steps: int, warmup_steps: int, warmup_factor: float, power: float
) -> float:
    """Factor of the learning rate: polynomial decay from the first step, warmed up linearly.

    Args:
        step: 0-based.
        steps: of the whole training.
        warmup_steps: of the warm-up.
        warmup_factor: its first value.
        power: exponent of the decay.
    """
    decay = (1 - step / steps) ** power
    if step >= warmup_steps:
        return decay
    progress = step / warmup_steps
    return decay * (warmup_factor * (1 - progress) + progress)


def set_learning_rate(optimizer: AdamW, learning_rate: float) -> None:
    """Set the learning rate of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> torch.Tensor:
    """Scale all gradients together so that their norm is at most `largest`.

    Returns:
        the norm before, a scalar.
    """
    return nn.utils.clip_grad_norm_(parameters, largest)
