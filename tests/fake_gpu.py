"""What a GPU would be asked for, without one: PyTorch traces a part of the work on a fake device.

    python tests/fake_gpu.py segmenter

prints how often the process would wait for the GPU, as JSON: copies from ordinary memory and
numbers that are read back, by the line that asks. A tensor on another device than its neighbours
is an error. One part for each process: PyTorch crashes when fake tensors of an earlier mode are
collected. The backward pass needs a device that is there, and is left out.
"""

import gc
import json
import sys
import traceback
from collections import Counter
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from scan_core.inference.image_features import CropSetting, ImageEncoder
from scan_core.models.build import architecture_of, build_network
from scan_core.models.contextual_shift import shifted_image_features
from scan_core.models.crops import MaskedCrops
from scan_core.models.preprocessing import backbone_input, resize_for_clip
from scan_core.models.scan import ScanNetwork, class_logits
from scan_core.params.reading import read_params, validate
from scan_core.params.schema.recipe import ReleasedDefects
from scan_core.training.clip_pretrain import multi_positive_loss
from scan_core.training.criterion import Matching, SetCriterion, Target, draw_points

GPU = torch.device("cuda")
PARAMS = Path(__file__).parents[1] / "params.yaml"


class Waits(TorchDispatchMode):
    """Counts copies between devices and numbers read back, by the line of ours that asks."""

    def __init__(self):
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        moved = name == "_to_copy" and args[0].device.type != result.device.type
        moved |= name == "copy_" and args[0].device.type != args[1].device.type
        if moved or name in ("_local_scalar_dense", "nonzero"):
            ours = [f for f in traceback.extract_stack() if "/scan_core/" in f.filename]
            where = ours[-1] if ours else traceback.extract_stack()[-3]
            self.found[f"{name} {Path(where.filename).name}: {where.line}"] += 1
        return result


def segmenter(network: ScanNetwork):
    """Forward pass and losses of a training step; the matching, made on the CPU, is given."""

    def matched(self, logits, *others):
        pairs = torch.zeros(len(logits), 4, dtype=torch.int64, device=GPU)
        return Matching(pairs[0], pairs, pairs, True)

    images = [torch.zeros(3, 96, 96, dtype=torch.uint8, device=GPU) for _ in range(2)]
    text = torch.zeros(24, network.no_object_embedding.shape[1], device=GPU)
    masks = torch.zeros(2, 96, 96, dtype=torch.bool, device=GPU)
    targets = [Target(torch.zeros(2, dtype=torch.int64, device=GPU), masks)] * 2

    def step() -> Tensor:
        view = resize_for_clip(images, network.original_clip.input, False)
        logits, proposals = network(backbone_input(images), view, text, 100.0)
        draws = draw_points(
            lambda shape: torch.rand(shape, device=GPU), len(logits), 2, 4, 50, 3, 0.75
        )
        with mock.patch.object(SetCriterion, "match", matched):
            return SetCriterion(2, 5, 5, 0.1, 50)(logits, proposals, targets, draws).total

    return step


def fine_tuning(network: ScanNetwork):
    """Forward pass and loss of a step of CLIP's fine-tuning."""
    size = network.clip.visual.image_size[0]
    crops, images = (torch.zeros(4, 3, size, size, device=GPU) for _ in range(2))
    masks = torch.zeros(4, size, size, dtype=torch.bool, device=GPU)
    generators = [torch.Generator().manual_seed(n) for n in range(4)]
    text = torch.zeros(3, network.no_object_embedding.shape[1], device=GPU)
    owners = torch.zeros(4, dtype=torch.int64, device=GPU)

    def step() -> Tensor:
        features = shifted_image_features(
            network.clip, network.original_clip, crops, masks, images, [1, 2], 0.1, generators
        )
        return multi_positive_loss(features, text, owners, network.clip.logit_scale.exp())

    return step


def inference(network: ScanNetwork):
    """An image: proposals, CLIP on given crops with contextual shift, and class scores."""
    encoder = ImageEncoder(
        network.eval(), 0, ReleasedDefects(**dict.fromkeys(ReleasedDefects.model_fields, False))
    )
    image = torch.zeros(3, 96, 128, dtype=torch.uint8, device=GPU)
    size = network.clip.visual.image_size[0]
    crops = MaskedCrops(
        queries=torch.arange(5, device=GPU),
        boxes=torch.zeros(5, 4, dtype=torch.int64, device=GPU),
        images=torch.zeros(5, 3, size, size, device=GPU),
        masks=torch.zeros(5, size, size, dtype=torch.bool, device=GPU),
    )
    text = torch.zeros(24, network.no_object_embedding.shape[1], device=GPU)
    setting = CropSetting(0.5, 1.0, 0.1, (1, 2))

    def step() -> Tensor:
        (seen,) = encoder.propose([image])
        assert seen.masks().device.type == "cuda"
        (features,) = encoder.encode_crops(crops, seen.cls, [setting], len(seen.embeddings), 0)
        inside = class_logits(seen.embeddings, text, 100.0)
        return inside.float().sum() + class_logits(features, text, 100.0).sum()

    return step


def main() -> None:
    """Trace one part, and print what it would wait for."""
    gc.disable()
    recipe = validate(read_params(PARAMS)).recipes["mini"]
    network = build_network(architecture_of(recipe.segmenter, recipe.clip)).train()
    autocast = torch.cuda.amp.common
    with (
        mock.patch.object(autocast, "amp_definitely_not_available", return_value=False),
        mock.patch.object(torch.cuda, "is_bf16_supported", return_value=True),
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.autocast("cuda", torch.bfloat16),
    ):
        network = network.to_empty(device=GPU)
        step = {"segmenter": segmenter, "fine_tuning": fine_tuning, "inference": inference}[
            sys.argv[1]
        ](network)
        step()  # copies what is copied once
        with Waits() as waits:
            result = step()
        about = {"device": result.device.type, "dtype": str(result.dtype), "waits": waits.found}
    print(json.dumps(about), flush=True)


if __name__ == "__main__":
    main()
