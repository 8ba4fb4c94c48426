"""Speed of an exported model beside PyTorch, image by image, in one run.

    python -m benchmarks.export --checkpoint model.safetensors --exported exported IMAGE...

Both take an image to a class map with the settings of the export, with the same number of
threads. Prints the seconds of each, their ratio, and how many pixels agree.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.machine import seconds
from scan_core.apps.class_names import ClassNames
from scan_core.apps.exported import ExportedModel
from scan_core.apps.model import classify
from scan_core.inference.scan import Scan
from scan_core.params.settings import TestSettings
from scan_core.storage.images import read_image

_CPU = torch.device("cpu")


def main() -> None:
    """Print a line for each image."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--checkpoint", type=Path, required=True, help="that was exported")
    parser.add_argument("--exported", type=Path, required=True, help="folder of its export")
    parser.add_argument("--benchmark", help="whose settings are used (default: the default)")
    options = parser.parse_args()
    threads = torch.get_num_threads()
    model = ExportedModel(options.exported, benchmark=options.benchmark, threads=threads)
    settings = model.settings
    scan = Scan.from_checkpoint(options.checkpoint)
    classes = model.classes
    text = scan.embed(classes.words, settings.prompts)
    print(f"PyTorch {torch.__version__}, onnxruntime {onnxruntime.__version__}, {threads} threads")
    print(f"{'image':<24} {'PyTorch':>9} {'exported':>9} {'ratio':>6} {'equal pixels':>13}")
    for path in options.images:
        image = read_image(path)
        expected = _by_pytorch(scan, image, text, classes, settings)
        equal = (expected == model.segment(image).class_map).mean()
        ours = seconds(partial(_by_pytorch, scan, image, text, classes, settings), _CPU)
        theirs = seconds(partial(model.segment, image), _CPU)
        print(f"{path.name:<24} {ours:9.2f} {theirs:9.2f} {theirs / ours:6.2f} {equal:13.3%}")


def _by_pytorch(
    scan: Scan,
    image: NDArray[np.uint8],
    text: Tensor,
    classes: ClassNames,
    settings: TestSettings,
) -> NDArray[np.int32]:
    (seen,) = scan.encode([image], [settings])
    size = (image.shape[0], image.shape[1])
    return classify(scan, seen, text, classes, settings, size).class_map


if __name__ == "__main__":
    main()
