"""Parameter groups, learning-rate schedule and gradient clipping of the released recipe."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

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


def take_step(
    optimizer: Optimizer,
    parameters: Sequence[nn.Parameter],
    learning_rate: float,
    largest_norm: float | None,
) -> Tensor | None:
    """Change the weights by their gradients, and forget these.

    Args:
        optimizer: all groups of which get the learning rate.
        parameters: those that are trained.
        learning_rate: of this step.
        largest_norm: gradients are scaled together so that their norm is at most this; None: not.

    Returns:
        the norm before it was scaled, a scalar; None if it was not asked for.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    norm = None
    if largest_norm is not None:
        norm = nn.utils.clip_grad_norm_(parameters, largest_norm)
    optimizer.step()
    optimizer.zero_grad()
    return norm
