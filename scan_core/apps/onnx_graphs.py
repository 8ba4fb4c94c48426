"""The method as three ONNX graphs: proposals, CLIP on their crops, and class scores of pixels.

The graphs are made of the modules and functions that `Scan` runs, but for two that ONNX needs in
another form: crops of all masks at once, and an order of random numbers without a stable sort.
Every graph is compared with PyTorch when it is written.
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scan_core.apps.exported import open_graph
from scan_core.errors import InputError
from scan_core.inference.class_map import combine_scores
from scan_core.inference.scan import Scan
from scan_core.models.clip import blocks, encode_images, token_shape
from scan_core.models.contextual_shift import (
    ContextualShift,
    background_patches,
    replaced_counts,
)
from scan_core.models.crops import mask_boxes
from scan_core.models.preprocessing import PIXEL_MEAN, PIXEL_STD, STRIDE, ClipInput, normalise
from scan_core.models.scan import class_logits

_log = logging.getLogger(__name__)
_OPSET = 18
# Of the largest value of an output. Graphs differ by 1e-5, and more only where a rounded mask
# logit changes its sign; a graph that computes something else differs by about 1.
_MOST_DIFFERENT = 1e-2


class Graph(nn.Module):
    """A module with inputs to trace it.

    Attributes:
        outputs: their names.
    """

    outputs: Sequence[str]

    def inputs(self, larger: bool) -> dict[str, Tensor]:
        """An example, or one with other sizes wherever a size is free."""
        raise NotImplementedError


def write_graph(path: Path, graph: Graph) -> None:
    """Trace a graph, write it, and compare what it gives with what PyTorch gives.

    Raises:
        InputError: they differ.
    """
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what an optimiser passes over
    _log.info("tracing %s, which takes a minute or a few", path.name)
    example, other = graph.inputs(False), graph.inputs(True)
    with torch.no_grad():
        expected = graph(**other)
        free = {
            name: {
                axis: torch.export.Dim.AUTO
                for axis, sizes in enumerate(zip(tensor.shape, other[name].shape, strict=True))
                if sizes[0] != sizes[1]
            }
            for name, tensor in example.items()
        }
        program = torch.export.export(graph, (), example, dynamic_shapes=free)
        written = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=_OPSET,
            input_names=list(example),
            output_names=list(graph.outputs),
            verbose=False,
        )
    assert written is not None, "the exporter of torch.export's programs gives a program"
    written.save(path)
    inputs = {name: tensor.numpy() for name, tensor in other.items()}
    found = open_graph(path).run(list(graph.outputs), inputs)
    outputs = expected if isinstance(expected, tuple) else (expected,)
    for name, ours, theirs in zip(graph.outputs, outputs, found, strict=True):
        difference = float((ours - torch.from_numpy(theirs)).abs().max() / ours.abs().max())
        _log.info("%s: '%s' differs from PyTorch's by %.1e", path.name, name, difference)
        if not difference <= _MOST_DIFFERENT:
            raise InputError(
                f"{path.name} was not written: its output '{name}' differs from PyTorch's by "
                f"{difference:.1e} of the largest value. Another version of onnxruntime or "
                "onnxscript may export it; envs/requirements.lock has those that are tested"
            )


class ProposalGraph(Graph):
    """Mask probabilities, their embeddings, and CLIP's [CLS] tokens of the whole image."""

    outputs = ("masks", "embeddings", "cls")

    def __init__(self, scan: Scan) -> None:
        super().__init__()
        self.network = scan.network
        self.taken: ClipInput = scan.network.original_clip.input

    def forward(self, image: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Look at one image.

        Args:
            image: (3, 32 h, 32 w) uint8, with anything right of and below the image.
            size: (2,) int64, height and width of the image.

        Returns:
            masks (Q, 32 h, 32 w), 0 outside of the image; embeddings (Q, E); (blocks + 1, D).
        """
        height, width = image.shape[1:]
        inside = (torch.arange(height)[:, None] < size[0]) & (torch.arange(width) < size[1])
        for_clip = normalise(image, self.taken.mean, self.taken.std) * inside
        rows, columns = (
            _antialiased(extent, size[axis], self.taken.size)
            for axis, extent in enumerate((height, width))
        )
        view = self.network.view((rows @ (for_clip @ columns.T))[None])
        pixels = normalise(image, PIXEL_MEAN, PIXEL_STD) * inside
        proposals = self.network.proposal_network(pixels[None])
        embeddings = self.network.embed(proposals, view)
        logits = proposals.mask_logits
        masks = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)[0]
        return masks.sigmoid() * inside, embeddings[-1, 0], view.cls[:, 0]

    def inputs(self, larger: bool) -> dict[str, Tensor]:
        window = self.network.proposal_network.backbone.window
        # Where the example needs no padding to whole windows, the graph would never pad.
        unlike = [side for side in (5, 7, 11, 13) if math.gcd(side, window) == 1]
        rows, columns = (window, 1) if larger else unlike[:2]
        return _picture(rows, columns)


class CropGraph(Graph):
    """CLIP's features of masked crops, with contextual shift."""

    outputs = ("features",)

    def __init__(self, scan: Scan) -> None:
        super().__init__()
        self.visual = scan.network.clip.visual
        self.taken: ClipInput = self.visual.input

    def forward(
        self,
        image: Tensor,
        size: Tensor,
        masks: Tensor,
        threshold: Tensor,
        expansion: Tensor,
        cls: Tensor,
        keys: Tensor,
        shares: Tensor,
    ) -> Tensor:
        """Look at crops of one image.

        Args:
            image: see `ProposalGraph`.
            size: likewise.
            masks: (N, 32 h, 32 w), each with a pixel above the threshold.
            threshold: (1,) float32, pixels above it form the crop.
            expansion: (1,) float32, of the masks' boxes.
            cls: (blocks + 1, D), the image's [CLS] tokens.
            keys: (blocks − 1, N, T), random numbers that order each crop's tokens, for the shift
                after each block but the last.
            shares: (blocks − 1,) float64, the share of the background tokens that becomes the
                image's [CLS] token after each block: 0 where nothing is shifted.

        Returns:
            (N, E), not normalised.
        """
        foreground, side = masks > threshold, self.taken.size
        boxes = mask_boxes(foreground)
        margin = ((boxes[:, 2:] - boxes[:, :2]) * ((expansion - 1) / 2)).round().long()
        start = (boxes[:, :2] - margin).clamp(min=0)
        length = torch.minimum(boxes[:, 2:] + margin, size.flip(0)) - start
        pixels = normalise(image, self.taken.mean, self.taken.std) * foreground[:, None]
        columns, rows = (
            _bicubic(start[:, axis], length[:, axis], masks.shape[2 - axis], side)
            for axis in (0, 1)
        )
        crops = rows[:, None] @ (pixels @ columns[:, None].mT)
        right, down = (start[:, a, None] + _nearest(length[:, a, None], side) for a in (0, 1))
        lines = foreground.gather(1, down[:, :, None].expand(-1, -1, masks.shape[2]))
        crop_masks = lines.gather(2, right[:, None].expand(-1, side, -1))
        background = background_patches(crop_masks, self.visual.patch_size)
        chosen = {
            number: _chosen(background, keys[number - 1], shares[number - 1])
            for number in range(1, len(blocks(self.visual)))
        }
        return encode_images(self.visual, crops, ContextualShift(chosen, cls[:, None]))

    def inputs(self, larger: bool) -> dict[str, Tensor]:
        depth, (tokens, width) = len(blocks(self.visual)), token_shape(self.visual)
        rows, columns, crops = (4, 7, 2) if larger else (3, 5, 3)
        masks = torch.zeros(crops, STRIDE * rows, STRIDE * columns)
        masks[:, 9:50, 20:90] = 0.7
        masks[:, 30:60, 70:95] = 0.8
        return {
            **_picture(rows, columns),
            "masks": masks,
            "threshold": torch.tensor([0.6]),
            "expansion": torch.tensor([1.3]),
            "cls": _noise(depth + 1, width),
            "keys": torch.rand(depth - 1, crops, tokens - 1, generator=_generator()),
            "shares": torch.linspace(0, 0.9, depth - 1, dtype=torch.float64),
        }


class ClassGraph(Graph):
    """Class scores of some pixels of the result: both classifiers' scores, combined, and masks."""

    outputs = ("scores",)

    def __init__(self, scan: Scan) -> None:
        super().__init__()
        self.queries = len(scan.network.proposal_network.mask_decoder.query_feat.weight)
        self.width = scan.network.no_object_embedding.shape[1]

    def forward(
        self,
        masks: Tensor,
        size: Tensor,
        rows: Tensor,
        columns: Tensor,
        target: Tensor,
        embeddings: Tensor,
        features: Tensor,
        valid: Tensor,
        text: Tensor,
        no_object: Tensor,
        synonyms: Tensor,
        logit_scale: Tensor,
        clip_weight: Tensor,
        log_ensemble: Tensor,
    ) -> Tensor:
        """Score every class at some pixels.

        Args:
            masks: (Q, 32 h, 32 w), from `ProposalGraph`.
            size: (2,) int64, height and width of the image in it.
            rows: (R,) int64, of the result.
            columns: (C,) int64, of the result.
            target: (2,) int64, height and width of the result.
            embeddings: (Q, E), from `ProposalGraph`.
            features: (Q, E), from `CropGraph`; anything where not valid.
            valid: (Q,) bool, whether CLIP has classified the proposal.
            text: (W, E), of unit length.
            no_object: (1, E), of unit length.
            synonyms: (K, S) int64, for each class its words; shorter ones repeat a word.
            logit_scale: (1,) float32.
            clip_weight: (1,) float32.
            log_ensemble: (1,) bool, whether the ensemble is `log` or `geometric`.

        Returns:
            (K, R, C).
        """
        inside = class_logits(embeddings, torch.cat((text, no_object)), logit_scale)
        best = inside[:, :-1][:, synonyms].amax(2)
        inside = torch.cat((best, inside[:, -1:]), 1)
        outside = class_logits(features, text, logit_scale)[:, synonyms].amax(2)

        def combined(ensemble: str) -> Tensor:
            settings: Any = SimpleNamespace(clip_weight=clip_weight, ensemble=ensemble)
            return combine_scores(inside, outside, valid, settings)

        scores = torch.where(log_ensemble, combined("log"), combined("geometric"))
        part = _linear(masks, 1, rows, size[0], target[0])
        part = _linear(part, 2, columns, size[1], target[1])
        maps: Tensor = (scores.T @ part.flatten(1)).unflatten(1, part.shape[1:])
        return maps

    def inputs(self, larger: bool) -> dict[str, Tensor]:
        h, w, r, c, words, k, s = (4, 7, 1, 29, 1, 1, 1) if larger else (3, 5, 13, 17, 9, 7, 2)
        ids = torch.randint(0, words, (k, s), generator=_generator())
        return {
            "masks": _noise(self.queries, STRIDE * h, STRIDE * w).sigmoid(),
            "size": torch.tensor([STRIDE * h - 7, STRIDE * w - 3]),
            "rows": torch.arange(r) + 3,
            "columns": torch.arange(c).flip(0),
            "target": torch.tensor([50, 60]),
            "embeddings": _noise(self.queries, self.width),
            "features": _noise(self.queries, self.width).flip(0),
            "valid": torch.arange(self.queries) % 3 > 0,
            "text": F.normalize(_noise(words, self.width), dim=1),
            "no_object": F.normalize(_noise(1, self.width).flip(1), dim=1),
            "synonyms": ids,
            "logit_scale": torch.tensor([30.0]),
            "clip_weight": torch.tensor([0.4]),
            "log_ensemble": torch.tensor([larger]),
        }


def _chosen(background: Tensor, keys: Tensor, share: Tensor) -> Tensor:
    """`choose_tokens`; ONNX has no stable sort, and its TopK takes the first of equal keys."""
    hidden = keys.masked_fill(~background, float("inf"))
    order = hidden.topk(keys.shape[1], dim=1, largest=False).indices
    places = torch.arange(keys.shape[1]).expand_as(order)
    rank = torch.zeros_like(order).scatter(1, order, places)
    return rank < replaced_counts(background, share)[:, None]


def _nearest(length: Tensor, side: int) -> Tensor:
    """For each of `side` pixels the nearest of a row, as PyTorch's `nearest` finds it."""
    return torch.minimum((torch.arange(side) * (length.float() / side)).long(), length - 1)


def _antialiased(extent: int, length: Tensor, side: int) -> Tensor:
    """(side, extent): what resizes a row's first `length` pixels as PyTorch does, antialiased."""
    scale = length.float() / side
    center = (torch.arange(side) + 0.5)[:, None] * scale
    place = torch.arange(extent)
    weights = (1 - ((place + 0.5 - center) / scale.clamp(min=1)).abs()).clamp(min=0)
    weights = weights * (place < length)
    return weights / weights.sum(1, keepdim=True)


def _bicubic(start: Tensor, length: Tensor, extent: int, side: int) -> Tensor:
    """(N, side, extent): what resizes parts of a row; their border pixels go on outside."""
    position = (torch.arange(side) + 0.5) * (length.float() / side)[:, None] - 0.5
    first = position.floor()
    t = position - first
    weights = torch.zeros(1)
    for step, distance in enumerate((t + 1, t, 1 - t, 2 - t), start=-1):
        inner = (1.25 * distance - 2.25) * distance * distance + 1
        outer = ((-0.75 * distance + 3.75) * distance - 6) * distance + 3
        place = torch.minimum((first + step).clamp(min=0).long(), length[:, None] - 1)
        hits = (place + start[:, None])[..., None] == torch.arange(extent)
        weights = weights + (inner if step in (0, 1) else outer)[..., None] * hits
    return weights


def _linear(x: Tensor, axis: int, places: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Some places of an axis whose first `source` values are resized to `target`, bilinearly."""
    position = ((places + 0.5) * (source / target) - 0.5).clamp(min=0)
    before = torch.minimum(position.long(), source - 1)
    after = torch.minimum(before + 1, source - 1)
    fraction = (position - before).clamp(max=1)
    fraction = fraction[:, None] if axis == 1 else fraction
    start = x.index_select(axis, before)
    return start + (x.index_select(axis, after) - start) * fraction


def _picture(rows: int, columns: int) -> dict[str, Tensor]:
    image = _noise(3, STRIDE * rows, STRIDE * columns).mul(60).add(128).clamp(0, 255).byte()
    return {"image": image, "size": torch.tensor([STRIDE * rows - 7, STRIDE * columns - 3])}


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=_generator())


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
