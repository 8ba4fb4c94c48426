"""Linear layers on the CPU in float32, as 1×1 convolutions.

PyTorch sends a linear layer in float32 to its BLAS library and a convolution to oneDNN. On AMD
processors the BLAS of the public builds does not use AVX-512 and oneDNN does: the same product
of a (1576, 768) and a (768, 3072) matrix runs at 216 against 480 GFLOP/s on two EPYC cores,
forwards and backwards alike. Elsewhere nothing is changed: on Intel's processors both are equally
fast, without AVX-512 the convolution is the slower one, and with one thread PyTorch does not use
oneDNN for it. Both are exact float32 products; only the order of sums differs.
"""

import platform
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_ABOUT_PROCESSOR = Path("/proc/cpuinfo")
# Below this many rows the call costs more than the faster product saves.
_FEWEST_ROWS = 128
_FEWEST_PARAMETERS = 20_000_000


def convolutional_linear(network: nn.Module | None = None) -> AbstractContextManager[Any]:
    """Within it `F.linear` of float32 tensors runs as a 1×1 convolution, where that is faster.

    It reaches the linear layers of library modules without touching these. Everything else,
    other devices and precisions included, is left as it is:

        with convolutional_linear(backbone):
            features = backbone(pixels)

    Args:
        network: what will run. One with few parameters, or on another device, is left as it is:
            every call of PyTorch costs a little more within.
            None: whatever runs.
    """
    if not convolutions_are_faster():
        return nullcontext()
    if network is not None:
        parameters = list(network.parameters())
        many = sum(p.numel() for p in parameters) >= _FEWEST_PARAMETERS
        if not many or any(p.device.type != "cpu" for p in parameters):
            return nullcontext()
    return _ConvolutionalLinear()


class _ConvolutionalLinear(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.linear and not kwargs and _worthwhile(args[0]):
            return _as_convolution(*args)
        return func(*args, **(kwargs or {}))


def convolutions_are_faster() -> bool:
    """Whether linear layers of this process are faster as convolutions.

    The processor's vendor and the threads decide, as measured, and no measurement at run time: the
    same machine always adds in the same order.
    """
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.get_num_threads() > 1
        and about_processor("vendor_id").endswith("AuthenticAMD")
    )


@cache
def about_processor(field: str) -> str:
    """A field of Linux's description, such as `vendor_id` and `model name`.

    Elsewhere, and where the field is missing, all that Python knows: on Windows that ends with the
    vendor's name.
    """
    if _ABOUT_PROCESSOR.is_file():
        for line in _ABOUT_PROCESSOR.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == field:
                return value.strip()
    return platform.processor() or platform.machine()


def _worthwhile(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.numel() >= _FEWEST_ROWS * x.shape[-1]
        and torch.backends.mkldnn.is_available()
    )


def _as_convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    # (..., I) seen as one image of `rows` × 1 pixels and I channels, channels last: no copy.
    rows = x.numel() // x.shape[-1]
    image = x.reshape(1, rows, 1, x.shape[-1]).permute(0, 3, 1, 2)
    result = F.conv2d(image, weight[:, :, None, None], bias)
    return result.permute(0, 2, 3, 1).reshape(*x.shape[:-1], weight.shape[0])
