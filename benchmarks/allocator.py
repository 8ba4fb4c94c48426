"""What it gains that freed memory stays with the process, at full size on the CPU.

    python -m benchmarks.allocator

Proposals for an image of 640 × 853 pixels and CLIP's view of 16 crops, ViT-B/16, random weights:
seconds and page faults before and after `keep_freed_memory`, in this order in one process.
"""

import argparse
import resource
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.machine import described, print_table, seconds
from scan_core.inference.scan import Scan
from scan_core.models.clip import encode_images
from scan_core.models.preprocessing import backbone_input
from scan_core.params.command_line import keep_freed_memory
from scan_core.params.reading import read_params, validate

SIZE, CROPS = (640, 853), 16


@torch.inference_mode()
def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    device = torch.device("cpu")
    print(described(device))
    torch.manual_seed(0)
    scan = Scan.from_recipe(validate(read_params(Path("params.yaml"))).recipes["vitb16"])
    network = scan.network
    pixels = backbone_input([torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)])
    crops = torch.randn(CROPS, 3, *network.clip.visual.image_size)
    work: dict[str, Callable[[], object]] = {
        "proposals": lambda: network.proposal_network(pixels),
        f"CLIP on {CROPS} crops": lambda: encode_images(network.clip.visual, crops),
    }
    before = {name: measured(job) for name, job in work.items()}
    if not keep_freed_memory():
        raise SystemExit("the allocator takes no such setting, or has settings from outside")
    after = {name: measured(job) for name, job in work.items()}
    print_table(
        ("freed memory", "returned, s", "kept, s", "ratio", "page faults", "page faults, kept"),
        [
            (name, f"{slow:.2f}", f"{fast:.2f}", f"{fast / slow:.2f}", f"{many:,}", f"{few:,}")
            for name, (slow, many) in before.items()
            for fast, few in [after[name]]
        ],
    )


def measured(work: Callable[[], object]) -> tuple[float, int]:
    """Seconds of the fastest run, and page faults of the last."""
    best = seconds(work, torch.device("cpu"), least=6.0)
    first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return best, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first


if __name__ == "__main__":
    main()
