"""Whether a device computes what the CPU does, in every precision."""

import sys
from dataclasses import replace
from pathlib import Path

from scan_core.inference.scan import Scan
from scan_core.params.settings import Precision, TestSettings

# The network whose every weight is made from its name, and which the tests compare with the
# released model; its regions and words differ, as random weights' do not.
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")
NAMES = ["wall", "sky", "tree", "sea", "car", "grass", "water", "plant"]
SIZES = ((110, 171), (240, 160), (333, 500))
# Largest relative difference of class scores, and least share of equal pixels.
ALLOWED = {"float32": (1e-3, 0.999), "tf32": (1e-1, 0.99), "bfloat16": (1e-1, 0.99)}


def scan_and_settings(device: str) -> tuple[Scan, TestSettings]:
    """The measured model on a device, and settings under which CLIP sees many of its masks."""
    from small_models import settings, small_scan  # type: ignore[import-not-found]

    chosen = settings(0.9, 0.6, 0.5, short_side=224, longest_side=640, replace_layers=(1, 3))
    scan = small_scan(chosen)
    scan.network.to(device)
    return scan, chosen


def compare(device: str) -> list[tuple[Precision, float, float, bool]]:
    """A device's result beside the CPU's in float32.

    Args:
        device: in PyTorch's words.

    Returns:
        for each precision the largest difference of a score, relative to the largest score, the
        share of equal pixels, and whether both are within what is allowed.
    """
    from parity_pack import image  # type: ignore[import-not-found]

    exact, base = scan_and_settings("cpu")
    other, _ = scan_and_settings(device)
    pictures = [image(n, *size).transpose(1, 2, 0).copy() for n, size in enumerate(SIZES)]
    expected = exact.segment_all(pictures, NAMES, base)
    rows = []
    for precision in PRECISIONS:
        found = other.segment_all(pictures, NAMES, replace(base, precision=precision))
        difference, equal, pixels = 0.0, 0, 0
        for ours, theirs in zip(found, expected, strict=True):
            scores = theirs.scores.double()
            gap = (ours.scores.cpu().double() - scores).abs().max() / scores.abs().max()
            difference = max(difference, float(gap))
            equal += int((ours.class_map == theirs.class_map).sum())
            pixels += theirs.class_map.size
        most, least = ALLOWED[precision]
        right = difference <= most and equal / pixels >= least
        rows.append((precision, difference, equal / pixels, right))
    return rows
