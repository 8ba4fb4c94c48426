"""The released model's measured numbers, and the rule that gives every weight its value."""

import gzip
import json
import re
import tempfile
import zlib
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from scan_core.models.build import build_network
from scan_core.models.checkpoints import import_foreign
from scan_core.models.preprocessing import ClipInput
from scan_core.models.released_names import SCAN, to_ours

FOLDER = Path(__file__).parent / "parity"
ARCHITECTURE = json.loads((FOLDER / "architecture.json").read_text())

# Tensors that keep the value that the constructor gives them.
_KEPT = ("criterion.empty_weight", "pixel_mean", "pixel_std", "logit_scale")
# The first pattern that is found multiplies the default scale 1 / sqrt(fan in).
_GAINS = (
    (r"predictor\.transformer_cross_attention_layers\..*in_proj_weight$", 2.0),
    (r"predictor\.transformer_.*(out_proj|linear2)\.weight$", 0.1),
    (r"predictor\.class_embed\.layers\.1\.weight$", 2.0),
    (r"fusion_decoder\..*out_proj\.weight$", 0.2),
    (r"\.resblocks\..*in_proj_weight$", 1.5),
    (r"sampling_offsets\.weight$", 0.5),
    (r"LFM\.conv1\.weight$", 0.5),
)
_SCALED = (
    (("relative_position_bias_table", "class_embedding"), 0.3),
    (("token_embedding.weight",), 0.2),
    (("positional_embedding",), 0.1),
    (("query_feat.weight", "query_embed.weight", "level_embed", "level_embed.weight"), 1.0),
    (("non_object_embedding",), 1.0),
)


def to_theirs(ours, rules):
    """Our state dict by foreign names, the inverse of `to_ours`; what no rule knows is left out."""
    joined = {}
    for name, tensor in ours.items():
        if ".attention.q_proj." in name:
            parts = [ours[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            joined[name.replace("q_proj", "qkv")] = torch.cat(parts)
        elif not re.search(r"\.attention\.[kv]_proj\.", name):
            joined[name] = tensor
    return to_ours(joined, [(theirs, mine) for mine, theirs in rules])[0]


def released_constants(released, training_classes, no_object_weight):
    """What a released SCAN checkpoint holds besides weights, whose released names are given.

    Index tables of Swin's windows, the class weights of the loss, CLIP's mean and deviation.
    """
    constants = {}
    for name, table in released.items():
        if name.endswith(".relative_position_bias_table"):
            window = (round(len(table) ** 0.5) + 1) // 2
            index = name.replace("bias_table", "index")
            constants[index] = relative_position_index(window)
    weight = torch.ones(training_classes + 1)
    weight[-1] = no_object_weight
    constants["criterion.empty_weight"] = weight
    constants["clip_adapter.pixel_mean"] = torch.tensor(ClipInput(0).mean).view(1, 3, 1, 1)
    constants["clip_adapter.pixel_std"] = torch.tensor(ClipInput(0).std).view(1, 3, 1, 1)
    return constants


def relative_position_index(window):
    """(window², window²) int64: the row of the bias table for every pair of tokens of a window."""
    tokens = torch.arange(window)
    y, x = (axis.flatten() for axis in torch.meshgrid(tokens, tokens, indexing="ij"))
    vertical = y[:, None] - y + window - 1
    horizontal = x[:, None] - x + window - 1
    return vertical * (2 * window - 1) + horizontal


def named_value(name, shape):
    """The float32 value of a released parameter, made from its name; None: leave it."""
    if name.endswith(_KEPT):
        return None
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    noise = noise.astype(np.float32)
    f32 = np.float32
    if name == "learnable_weight":
        return np.full(shape, 0.5, np.float32)
    for endings, scale in _SCALED:
        if name.endswith(endings):
            return noise * f32(scale)
    if name.endswith("pixel_decoder.mask_features.bias"):
        return f32(-0.5) + f32(0.1) * noise
    if name.endswith("mask_embed.layers.2.bias"):
        return f32(8.0 / shape[0]) + f32(0.1) * noise
    if name.endswith("mask_embed.layers.2.weight"):
        return noise * f32(10.0 / np.sqrt(shape[0] * shape[1]))
    if len(shape) >= 2:
        projects = name.endswith((".proj", "text_projection"))
        fan_in = shape[0] if projects else int(np.prod(shape[1:]))
        gain = next((gain for pattern, gain in _GAINS if re.search(pattern, name)), 1.0)
        return noise * f32(gain / np.sqrt(fan_in))
    return f32(name.endswith("weight")) + f32(0.1) * noise


def image(seed, height, width):
    """A uint8 image (3, H, W): a coarse random grid stretched bilinearly, and a little noise."""
    random = np.random.RandomState(seed)
    grid = random.random_sample((3, 7, 9))
    y, x = np.arange(height) * (6.0 / (height - 1)), np.arange(width) * (8.0 / (width - 1))
    top, left = np.minimum(y.astype(int), 5), np.minimum(x.astype(int), 7)
    down, right = (y - top)[:, None], (x - left)[None]
    upper, lower = grid[:, top], grid[:, top + 1]
    smooth = (upper[:, :, left] * (1 - right) + upper[:, :, left + 1] * right) * (1 - down)
    smooth = smooth + (lower[:, :, left] * (1 - right) + lower[:, :, left + 1] * right) * down
    noise = random.random_sample((3, height, width))
    return np.floor((0.95 * smooth + 0.05 * noise) * 255.0 + 0.5).astype(np.uint8)


def released_keys(size):
    """Name -> (shape, dtype) of the released model of a size: tiny, vitB, vitL."""
    text = gzip.decompress((FOLDER / f"keys_{size}.txt.gz").read_bytes()).decode()
    rows = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return {
        name: (tuple(int(n) for n in re.findall(r"\d+", shape)), dtype)
        for name, shape, dtype, _ in rows
    }


def named_weights(theirs):
    """A released state dict with every value made from its name."""
    made = {name: named_value(name, tuple(tensor.shape)) for name, tensor in theirs.items()}
    return {
        name: tensor if made[name] is None else torch.from_numpy(np.asarray(made[name]))
        for name, tensor in theirs.items()
    }


def set_text_heads(clip):
    """The tiny model's text tower has four heads, of another width than the image tower's."""
    for block in clip.transformer.resblocks:
        block.attn.num_heads, block.attn.head_dim = 4, 16


def tiny_network(text_heads=True):
    """The measured model, imported from a file like the release's.

    Without its text heads, it is just what `ARCHITECTURE` says.
    """
    network = build_network(ARCHITECTURE)
    if text_heads:
        set_text_heads(network.clip)
    released = named_weights(to_theirs(network.state_dict(), SCAN))
    released |= released_constants(released, training_classes=12, no_object_weight=0.1)
    with tempfile.TemporaryDirectory() as folder:
        torch.save({"model": released}, Path(folder) / "SCAN.pth")
        assert not import_foreign(network, Path(folder) / "SCAN.pth", "scan").missing
    return network


class Pack:
    """Compares arrays to the measured ones, and keeps the largest difference of every stage."""

    def __init__(self):
        self.manifest = json.loads((FOLDER / "manifest.json").read_text())
        self.stages = defaultdict(lambda: (0.0, 0.0, 0))
        self._arrays = {}
        self.unchecked = {
            name for name in self.manifest if not name.startswith(("metric.", "eval.draws"))
        }

    def arrays(self, file):
        if file not in self._arrays:
            with np.load(FOLDER / f"{file}.npz") as content:
                self._arrays[file] = dict(content)
        return self._arrays[file]

    def table(self, file):
        return json.loads((FOLDER / f"{file}.json").read_text())

    def stored(self, name):
        return self.arrays(name.split(".", 1)[0])[name]

    def whole(self, name):
        """A measured array that is stored in full, in its shape."""
        return self.stored(name).reshape(self.manifest[name]["shape"])

    def check(self, name, values, stage, tolerance):
        """Assert that an array is the measured one.

        Args:
            name: of the array.
            values: ours, the whole array.
            stage: the row of the printed table.
            tolerance: largest difference over the largest magnitude; 0: equal.
        """
        values = values.detach().cpu().numpy() if torch.is_tensor(values) else np.asarray(values)
        about, expected = self.manifest[name], self.stored(name)
        assert list(values.shape) == about["shape"], name
        flat = values.reshape(-1)
        if about["stored"] == "np.packbits":
            expected = np.unpackbits(expected)[: flat.size].astype(bool)
        elif about["stored"] != "full" and flat.size > 8192:
            flat = flat[np.random.RandomState(0).permutation(flat.size)[:2048]]
        difference = np.abs(flat.astype(np.float64) - expected).max() if flat.size else 0.0
        self.record(stage, difference / (about.get("absmax") or 1), tolerance)
        assert difference <= tolerance * (about.get("absmax") or 1), (name, difference)
        self.unchecked.discard(name)

    def check_number(self, name, value, expected, stage, tolerance):
        """Assert that a number is the measured one, to a relative tolerance."""
        difference = abs(value - expected) / abs(expected)
        self.record(stage, difference, tolerance)
        assert difference <= tolerance, (name, value, expected)

    def record(self, stage, difference, tolerance):
        largest, allowed, count = self.stages[stage]
        self.stages[stage] = (max(largest, difference), max(allowed, tolerance), count + 1)
