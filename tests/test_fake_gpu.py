"""What a GPU would be asked for, without one: PyTorch traces the networks on a fake device.

Every tensor must be on the device that its neighbours are on, and nothing may make the process
wait for the GPU: a copy from ordinary memory, or a number that is read back. The backward pass
needs a device that is there, and is left out.
"""

import traceback
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from scan_core.models import constants
from scan_core.models.build import architecture_of, build_network
from scan_core.models.preprocessing import backbone_input, clip_view
from scan_core.params.reading import read_params, validate
from scan_core.training import criterion
from scan_core.training.contrastive import multi_positive_loss, shifted_image_features
from scan_core.training.criterion import SetCriterion
from scan_core.training.matcher import Matching, Target
from scan_core.training.points import draw_points

pytestmark = [pytest.mark.long, pytest.mark.slow]
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


@pytest.fixture
def network(monkeypatch):
    """The miniature world's network in training, on a GPU that is none, in bfloat16."""
    monkeypatch.setattr(
        torch.cuda.amp.common, "amp_definitely_not_available", lambda: False, raising=True
    )
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *a, **k: True)
    recipe = validate(read_params(PARAMS)).recipes["mini"]
    constants._made.cache_clear()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.autocast("cuda", torch.bfloat16):
        with GPU:
            network = build_network(architecture_of(recipe.segmenter, recipe.clip)).train()
        yield network
    constants._made.cache_clear()


def test_a_step_of_the_segmenter_waits_for_nothing_but_the_matching(network, monkeypatch):
    """The matching itself is made on the CPU; here it is given."""

    def matched(logits, *others):
        pairs = torch.zeros(len(logits), 4, dtype=torch.int64, device=GPU)
        return Matching(pairs[0], pairs, pairs, True)

    monkeypatch.setattr(criterion, "match", matched)
    images = [torch.zeros(3, 96, 96, dtype=torch.uint8, device=GPU) for _ in range(2)]
    text = torch.zeros(24, network.no_object_embedding.shape[1], device=GPU)
    masks = torch.zeros(2, 96, 96, dtype=torch.bool, device=GPU)
    targets = [Target(torch.zeros(2, dtype=torch.int64, device=GPU), masks)] * 2

    def step():
        view = clip_view(images, network.original_clip.input, False)
        logits, proposals = network(backbone_input(images), view, text, 100.0)
        draws = draw_points(
            lambda shape: torch.rand(shape, device=GPU), len(logits), 2, 4, 50, 3, 0.75
        )
        return SetCriterion(2, 5, 5, 0.1, 50)(logits, proposals, targets, draws).total

    step()  # copies what is copied once
    with Waits() as waits:
        total = step()
    assert total.device.type == "cuda"
    assert total.dtype == torch.float32
    assert not waits.found


def test_a_step_of_the_fine_tuning_waits_for_nothing(network):
    size = network.clip.visual.image_size[0]
    crops, images = (torch.zeros(4, 3, size, size, device=GPU) for _ in range(2))
    masks = torch.zeros(4, size, size, dtype=torch.bool, device=GPU)
    generators = [torch.Generator().manual_seed(n) for n in range(4)]
    text = torch.zeros(3, network.no_object_embedding.shape[1], device=GPU)
    owners = torch.zeros(4, dtype=torch.int64, device=GPU)

    def step():
        features = shifted_image_features(
            network.clip, network.original_clip, crops, masks, images, [1, 2], 0.1, generators
        )
        return multi_positive_loss(features, text, owners, network.clip.logit_scale.exp())

    step()
    with Waits() as waits:
        loss = step()
    assert loss.device.type == "cuda"
    # The draws of a step, from pinned memory where there is a real GPU.
    assert sum(waits.found.values()) <= 1, waits.found
    assert all("keys.to(" in line for line in waits.found)
