"""Noise of training, drawn for every image by itself: dropout and stochastic depth.

What an image is trained with then depends on its own random numbers alone, not on which images
are beside it or on which device it is, and a training has the same course on any number of
processes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class SampleDropout(nn.Module):
    """Dropout: each element is zero with some probability, in training.

    Args:
        rate: probability of a zero.

    Attributes:
        generators: one for each image of the batch, on its device; None: PyTorch's global one.
        whole: whether one number is drawn for all of an image.
    """

    whole = False

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.generators: Sequence[torch.Generator] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) to the same."""
        if not self.training or not self.rate:
            return x
        shape = [1] * (x.ndim - 1) if self.whole else list(x.shape[1:])
        if self.generators is None:
            drawn = torch.rand([len(x), *shape], device=x.device)
        else:
            drawn = torch.stack(
                [torch.rand(shape, generator=g, device=x.device) for g in self.generators]
            )
        return x * (drawn >= self.rate).to(x.dtype) / (1 - self.rate)


class DropPath(SampleDropout):
    """Stochastic depth: all of an image is zero with some probability, in training."""

    whole = True


@contextmanager
def sample_noise(network: nn.Module, generators: Sequence[torch.Generator]) -> Iterator[None]:
    """Let the noise of a forward pass come from one generator for each image.

    Args:
        network: whose noise it is.
        generators: as many as images, on the network's device.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, SampleDropout)]
    for layer in layers:
        layer.generators = generators
    try:
        yield
    finally:
        for layer in layers:
            layer.generators = None
