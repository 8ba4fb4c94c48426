"""What GPUs do in a second, and what the networks ask of them: the numbers behind the plan."""

from dataclasses import dataclass, replace

from scan_core.errors import InputError


@dataclass(frozen=True)
class Gpus:
    """GPUs of one kind.

    Attributes:
        name: of the kind.
        float32: 10¹² FLOP/s of a large matrix product in float32, without TF32.
        tf32: the same with it.
        bfloat16: the same in bfloat16 or float16.
        count: how many.
    """

    name: str
    float32: float
    tf32: float
    bfloat16: float
    count: int = 1

    def rate(self, precision: str) -> float:
        """10¹² FLOP/s in `float32`, `tf32`, `bfloat16` or `float16`."""
        half = precision in ("bfloat16", "float16")
        return self.bfloat16 if half else self.tf32 if precision == "tf32" else self.float32


# About a third of what the makers state: what large networks reach. Not measured by this project.
GPUS = {
    "h100": Gpus("H100", 20, 160, 280),
    "h200": Gpus("H200", 20, 160, 280),
    "a100": Gpus("A100", 10, 50, 100),
    "v100": Gpus("V100", 8, 8, 8),
}
DEFAULT = "h100"


@dataclass(frozen=True)
class Flops:
    """10¹² FLOP of the recipes' networks, counted by PyTorch's `FlopCounterMode`.

    Attributes:
        proposals: everything but CLIP on crops, for one image of 640 × 864.
        training: a training image of 640 × 640, forwards and backwards.
        crop: CLIP's image tower on one crop, forwards.
    """

    proposals: float
    training: float
    crop: float


FLOPS = {
    "ViT-B-16": Flops(0.646, 1.451, 0.0327),
    "ViT-L-14": Flops(0.820, 1.717, 0.1564),
}


def named_gpus(gres: str, count: int) -> Gpus:
    """The GPUs that a profile names.

    Args:
        gres: such as `gpu` or `gpu:a100`; without a kind it is an H100.
        count: how many.

    Raises:
        InputError: the rates of this kind are not known.
    """
    _, _, kind = gres.lower().partition(":")
    name = (kind or DEFAULT).split("_")[0].split("-")[0]
    if name not in GPUS:
        raise InputError(
            f"slurm/profile.yaml: gpu: the rates of '{kind}' are unknown, only those of "
            f"{', '.join(GPUS)}; add them to scan_core/params/gpus.py"
        )
    return replace(GPUS[name], count=count)
