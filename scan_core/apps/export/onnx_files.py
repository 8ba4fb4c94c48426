"""Graphs as ONNX files, each compared with PyTorch before it counts as written."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scan_core.apps.export.graphs import CropGraph, ProposalGraph
from scan_core.apps.exported.model import open_graph
from scan_core.errors import InputError
from scan_core.models.clip import blocks
from scan_core.models.clip_towers import VisionTransformer
from scan_core.models.proposal_network import STRIDE
from scan_core.models.scan import ScanNetwork

OPSET = 18
# Of the largest value of an output. Graphs differ by 1e-5, and more only where a rounded mask
# logit changes its sign; a graph that computes something else differs by about 1.
_MOST_DIFFERENT = 1e-2

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Graph:
    """What an ONNX file is made of.

    Attributes:
        module: what it computes.
        example: its inputs, by name; symbolic sizes are other numbers than fixed ones.
        other: inputs of other sizes, with which the file is compared.
        dynamic: for each input its axes whose sizes are free.
        outputs: their names.
    """

    module: nn.Module
    example: Mapping[str, Tensor]
    other: Mapping[str, Tensor]
    dynamic: Mapping[str, Any]
    outputs: Sequence[str]


def proposal_graph(network: ScanNetwork, largest_side: int) -> Graph:
    """The graph of the proposal network with semantic integration.

    Args:
        network: the weights.
        largest_side: of an image with its padding, pixels.
    """
    side = network.original_clip.input.size
    most = max(largest_side // STRIDE, 16)  # at least what is tried here
    height, width = (torch.export.Dim(name, min=1, max=most) for name in ("height", "width"))
    window = network.proposal_network.backbone.window
    # Where the example needs no padding to whole windows, the graph would never pad.
    unlike = [side for side in (5, 7, 11, 13) if math.gcd(side, window) == 1]

    def inputs(rows: int, columns: int) -> dict[str, Tensor]:
        return {
            "pixels": _noise(1, 3, STRIDE * rows, STRIDE * columns),
            "clip_image": _noise(1, 3, side, side),
        }

    return Graph(
        ProposalGraph(network).eval(),
        inputs(*unlike[:2]),
        inputs(min(window, most), 1),
        {"pixels": {2: STRIDE * height, 3: STRIDE * width}, "clip_image": None},
        ("mask_logits", "embeddings", "cls"),
    )


def crop_graph(visual: VisionTransformer) -> Graph:
    """The graph of the image tower on masked crops, with contextual shift.

    Args:
        visual: the weights.
    """
    depth, side, width = len(blocks(visual)), visual.input.size, visual.class_embedding.shape[0]
    tokens = len(visual.positional_embedding) - 1
    number = torch.export.Dim("crops", min=1, max=4096)

    def inputs(crops: int) -> dict[str, Tensor]:
        masks = torch.zeros(crops, side, side, dtype=torch.bool)
        masks[:, side // 3 :, side // 2 :] = True
        return {
            "crops": _noise(crops, 3, side, side),
            "masks": masks,
            "cls": _noise(depth + 1, width),
            "keys": torch.rand(depth - 1, crops, tokens, generator=_generator()),
            "shares": torch.linspace(0, 0.9, depth - 1, dtype=torch.float64),
        }

    dynamic = {"crops": {0: number}, "masks": {0: number}, "cls": None, "keys": {1: number}}
    return Graph(
        CropGraph(visual).eval(),
        inputs(3),
        inputs(2),
        {**dynamic, "shares": None},
        ("features",),
    )


def write_graph(path: Path, graph: Graph) -> None:
    """Write one, its weights beside it where they are too large for one file.

    Args:
        path: ends in `.onnx`.
        graph: what to write.

    Raises:
        InputError: it does not give what PyTorch gives.
    """
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what an optimiser passes over
    _log.info("tracing %s, which takes a minute or a few", path.name)
    with torch.no_grad():
        expected = _outputs(graph.module(**graph.other))
        program = torch.export.export(
            graph.module, (), dict(graph.example), dynamic_shapes=dict(graph.dynamic)
        )
        written = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(graph.example),
            output_names=list(graph.outputs),
            verbose=False,
        )
    assert written is not None, "the exporter of torch.export's programs gives a program"
    written.save(path)
    inputs = {name: tensor.numpy() for name, tensor in graph.other.items()}
    found = open_graph(path).run(list(graph.outputs), inputs)
    for name, ours, theirs in zip(graph.outputs, expected, found, strict=True):
        difference = float((ours - torch.from_numpy(theirs)).abs().max() / ours.abs().max())
        _log.info("%s: %s differs from PyTorch's by %.1e", path.name, name, difference)
        if not difference <= _MOST_DIFFERENT:
            raise InputError(
                f"{path.name} was not written: its {name} differs from PyTorch's by "
                f"{difference:.1e} of the largest value. Another version of onnxruntime or "
                "onnxscript may export it; envs/requirements.lock has those that are tested"
            )


def _outputs(found: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=_generator())


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
