"""Parts of the network against independent implementations, in configurations of all kinds."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from open_clip.transformer import QuickGELU
from project import ROOT
from small_models import NAMES, SETTINGS, picture_of, tiny_scan
from torch import nn
from torch.nn import functional as F

from scan_core.errors import InputError
from scan_core.inference.scan import Scan
from scan_core.models import cpu_linear
from scan_core.models.build import architecture_of, build_backbone, build_network
from scan_core.models.checkpoints import stage_weights
from scan_core.models.clip import (
    blocks,
    build_clip,
    embed_patches,
    encode_images,
    encode_images_each_way,
    encode_texts,
    encode_whole_images,
    run_block,
    tokenizer_for,
)
from scan_core.models.contextual_shift import ContextualShift, choose_tokens, random_ranks
from scan_core.models.cpu_linear import convolutional_linear
from scan_core.models.crops import masked_crops
from scan_core.models.deformable_attention import gather_and_sum, sample_and_sum
from scan_core.models.preprocessing import resize_for_clip
from scan_core.models.swin import SwinBackbone
from scan_core.models.text_features import TextEncoder
from scan_core.params.clips import clip_config, clip_models, unusable
from scan_core.params.reading import changed, read_params, validate
from scan_core.storage.weights import save_tensors
from scan_core.training.criterion import PointDraws, SetCriterion, Target, draw_points
from scan_core.training.segmenter import build_adamw

_DIMENSIONS = "embed_dim image_size patch_size vision_width vision_layers text_width text_layers"
_NAMES = f"{_DIMENSIONS} head_width context_length stem".split()
CLIPS = [
    dict(zip(_NAMES, values, strict=True))
    for values in [
        (32, 48, 8, 96, 4, 64, 2, 32, 16, "convolutional"),
        (24, 42, 14, 48, 1, 32, 3, 16, 20, "patches"),
    ]
]


@pytest.mark.parametrize("dimensions", CLIPS)
@torch.no_grad()
def test_clip_towers_equal_open_clip(dimensions):
    torch.manual_seed(0)
    clip = build_clip(dimensions)
    size = dimensions["image_size"]
    images = torch.randn(5, 3, size, size)
    expected = clip.encode_image(images)
    torch.testing.assert_close(encode_images(clip.visual, images), expected, rtol=0, atol=2e-6)
    view = encode_whole_images(clip.visual, images, [1])
    torch.testing.assert_close(view.feature, expected, rtol=0, atol=2e-6)
    assert view.cls.shape[0] == dimensions["vision_layers"] + 1

    tokens = torch.zeros(4, dimensions["context_length"], dtype=torch.int64)
    for row, length in enumerate((2, 5, 9, dimensions["context_length"])):
        tokens[row, : length - 1] = torch.randint(1, 49_000, (length - 1,))
        tokens[row, length - 1] = 49_407
    expected = clip.encode_text(tokens)
    torch.testing.assert_close(encode_texts(clip, tokens), expected, rtol=0, atol=2e-6)


def test_a_small_clip_comes_from_a_file(tmp_path):
    """So that a recipe of one's own need not train it again."""
    path, expected = tmp_path / "clip.safetensors", build_clip(CLIPS[1]).state_dict()
    save_tensors(path, expected, {})
    loaded = stage_weights("clip", path, "clip", {"clip": CLIPS[1]})
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.items())


@pytest.mark.parametrize("size", [(64, 96), (224, 160)])
@torch.no_grad()
def test_the_backbone_equals_transformers(size):
    """Windows that fit the maps, windows that need padding, and a map smaller than a window."""
    from transformers import SwinBackbone as TheirBackbone
    from transformers import SwinConfig

    torch.manual_seed(0)
    depths, heads, window = [1, 2, 3, 2], [1, 2, 4, 8], 5
    ours = SwinBackbone(16, depths, heads, window, drop_path=0.1).eval()
    for parameter in ours.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    theirs = TheirBackbone(
        SwinConfig(
            embed_dim=16, depths=depths, num_heads=heads, window_size=window,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        )
    ).eval()  # fmt: skip
    report = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert not report.unexpected_keys
    assert set(report.missing_keys) <= {"swin.layernorm.weight", "swin.layernorm.bias"}
    pixels = torch.randn(3, 3, *size)
    for ours_map, their_map in zip(ours(pixels), theirs(pixels).feature_maps, strict=True):
        torch.testing.assert_close(ours_map, their_map, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", ["convnext_atto", "resnet18"])
def test_a_backbone_of_timm_trains_by_a_key_of_the_recipe(model):
    recipe = validate(read_params(ROOT / "params.yaml")).recipes["mini"]
    recipe = changed(recipe, {"segmenter.backbone.name": f"timm:{model}"})
    torch.manual_seed(0)
    network = build_network(architecture_of(recipe.segmenter, recipe.clip)).train()
    optimizer = build_adamw(network, 3e-4, 0.05)
    pixels, images = torch.randn(1, 3, 64, 96), torch.randn(1, 3, 48, 48)
    names = F.normalize(torch.randn(3, 128), dim=-1)
    mask = torch.zeros(1, 64, 96, dtype=torch.bool)
    mask[:, :32, :48] = True
    draws = draw_points(torch.rand, 4, 1, 1, 200, 3, 0.75)
    criterion = SetCriterion(2, 5, 5, 0.1, 200)
    losses = []
    for _ in range(6):
        logits, proposals = network(pixels, images, names, 20.0)
        loss = criterion(logits, proposals, [Target(torch.tensor([1]), mask)], draws).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("model", ["convnext_foo", "swin_tiny_patch4_window7_224"])
def test_a_backbone_without_the_maps_that_are_needed_is_refused(model):
    with pytest.raises(InputError, match=r"segmenter\.backbone\.name: "):
        build_backbone(f"timm:{model}")


def test_every_plain_clip_of_the_table_can_be_built():
    names = [name for name in clip_models() if unusable(name) is None]
    assert len(names) > 25
    with torch.device("meta"):
        for name in names:
            clip = build_clip(name)
            assert clip.visual.input.size == clip.visual.image_size[0]


@torch.no_grad()
def test_an_eva_clip_is_that_of_open_clip(monkeypatch, tmp_path):
    """Its features, its tokens, and a model with it: segmented, saved and opened again."""
    torch.manual_seed(0)
    clip = build_clip("EVA02-B-16")
    visual, images = clip.visual, torch.randn(1, 3, 224, 224)
    view = encode_whole_images(visual, images, [3])
    assert torch.equal(view.feature, visual(images))
    assert torch.equal(encode_images(visual, images), view.feature)
    theirs = visual.trunk.forward_intermediates(
        images, [2], return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
    )
    ((patches, cls),) = theirs
    assert torch.equal(view.patches[3], patches)
    assert torch.equal(view.cls[3], cls[:, 0])
    changed = encode_images(visual, images, ContextualShift({5: torch.ones(1, 196) > 0}, view.cls))
    assert not torch.allclose(changed, view.feature)

    config = copy.deepcopy(clip_config("EVA02-B-16")) | {"embed_dim": 32}
    config["vision_cfg"] |= {"timm_model_name": "eva02_tiny_patch14_224", "patch_size": 14}
    config["text_cfg"] |= {"width": 32, "heads": 2, "layers": 1}
    monkeypatch.setattr("scan_core.models.clip.clip_config", lambda name: config)
    scan = tiny_scan()
    architecture = {**scan.header["architecture"], "clip": "EVA02-B-16"}
    header = {**scan.header, "architecture": architecture}
    network = build_network(architecture)
    network.original_clip.load_state_dict(network.clip.visual.state_dict())
    made = Scan(network, tokenizer_for("EVA02-B-16"), header)
    made.save(tmp_path / "model.safetensors")
    again = Scan.from_checkpoint(tmp_path / "model.safetensors")
    picture = picture_of(90, 120)
    for settings in (SETTINGS, replace(SETTINGS, precision="bfloat16")):
        found, expected = (one.segment(picture, NAMES, settings) for one in (again, made))
        assert np.array_equal(found.class_map, expected.class_map)
        torch.testing.assert_close(found.scores, expected.scores, rtol=1e-3, atol=1e-6)


@torch.no_grad()
def test_kept_text_features_are_of_one_architecture_and_its_weights(tmp_path):
    """The same text weights with other activations and other heads; then other weights."""
    small, quick = CLIPS[1], {"quick_gelu": True, "mean": [0.5] * 3, "std": [0.5] * 3}
    torch.manual_seed(0)
    weights = build_clip(small).state_dict()
    found = []
    for heads, wanted in ((16, None), (8, None), (16, quick), (16, None)):
        dimensions = {**small, "head_width": heads}
        clip = build_clip(dimensions)
        clip.load_state_dict(weights)
        if wanted:
            for block in clip.transformer.resblocks:
                block.mlp.gelu = QuickGELU()
        encoder = TextEncoder(
            clip, tokenizer_for(small), ["a {}"], tmp_path, architecture=[dimensions, wanted]
        )
        if len(found) == 3:
            encoder._encode = None  # whatever is not in the file would have to be encoded
        found.append(encoder(["ball"]))
        assert len(list(tmp_path.iterdir())) == min(len(found), 3), "one file each"
    clip.text_projection.mul_(-1)
    del encoder._encode
    torch.testing.assert_close(encoder(["ball"]), -found[0])
    assert torch.equal(found[0], found[3])
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@torch.no_grad()
def test_contextual_shift_by_hand():
    """Replace tokens in a loop of its own."""
    torch.manual_seed(0)
    visual = build_clip(CLIPS[0]).visual
    images, cls = torch.randn(3, 3, 48, 48), torch.randn(5, 1, 96)
    chosen = {layer: torch.rand(3, 36) < 0.3 for layer in (1, 3)}
    x = embed_patches(visual, images)
    for number, block in enumerate(visual.transformer.resblocks, start=1):
        x = run_block(block, x)
        for crop, places in enumerate(chosen.get(number, torch.zeros(3, 36, dtype=torch.bool))):
            x[crop, 1:][places] = cls[number, 0]
    expected = visual.ln_post(x[:, 0]) @ visual.proj
    shift = ContextualShift(chosen, cls)
    shifted = encode_images(visual, images, shift)
    torch.testing.assert_close(shifted, expected, rtol=0, atol=2e-6)
    late = ContextualShift({3: chosen[3]}, cls)
    for first, ways in ((1, [shift, late]), (3, [late, ContextualShift({}, cls)])):
        for way, found in zip(
            ways, encode_images_each_way(visual, images, ways, first), strict=True
        ):
            assert torch.equal(found, encode_images(visual, images, way))


def test_drawn_tokens():
    """The right number, of the background only, fewer within more, whatever else is drawn."""
    torch.manual_seed(0)
    background = torch.rand(30, 49) < torch.linspace(0, 1, 30)[:, None]
    keys = random_ranks(seed=1, image_key=2, layer=3, crops=30, tokens=49)
    before = torch.zeros_like(background)
    for ratio in (0.0, 0.05, 0.15, 0.5, 1.0):
        chosen = choose_tokens(background, keys, ratio)
        assert chosen.sum(1).tolist() == [int(ratio * n) for n in background.sum(1).tolist()]
        assert not (chosen & ~background).any()
        assert not (before & ~chosen).any()
        before = chosen
    assert torch.equal(
        choose_tokens(background[4:9], keys[4:9], 0.5), choose_tokens(background, keys, 0.5)[4:9]
    )
    assert not torch.equal(keys, random_ranks(seed=1, image_key=2, layer=4, crops=30, tokens=49))
    assert not torch.equal(keys, random_ranks(seed=1, image_key=3, layer=3, crops=30, tokens=49))


@pytest.mark.parametrize("read", [gather_and_sum, sample_and_sum])
def test_deformable_sampling_equals_grid_sample(read):
    torch.manual_seed(0)
    sizes = [(3, 5), (7, 4), (1, 2), (16, 9)]
    batch, queries, heads, points, depth = 2, 11, 3, 2, 6
    values = torch.randn(batch, sum(h * w for h, w in sizes), heads, depth, requires_grad=True)
    places = torch.rand(batch, queries, heads, len(sizes), points, 2) * 1.4 - 0.2
    places[0, 0], places[0, 1], places[1, 2] = 1e30, -1e30, 1.5
    places.requires_grad_()
    weights = torch.rand(batch, queries, heads, len(sizes), points, requires_grad=True)
    extent = torch.tensor([(w, h) for h, w in sizes], dtype=torch.float32)[:, None]
    ours = read(values, sizes, places * extent - 0.5, weights)
    expected = torch.zeros(batch, queries, heads, depth)
    levels = values.split([h * w for h, w in sizes], dim=1)
    for level, ((h, w), part) in enumerate(zip(sizes, levels, strict=True)):
        for head in range(heads):
            plane = part[:, :, head].transpose(1, 2).unflatten(2, (h, w))
            grid = 2 * places[:, :, head, level] - 1
            read = F.grid_sample(plane, grid, align_corners=False)
            expected[:, :, head] += (
                (read * weights[:, None, :, head, level]).sum(-1).transpose(1, 2)
            )
    torch.testing.assert_close(ours, expected.flatten(2), rtol=0, atol=1e-5)
    noise = torch.randn_like(ours)
    inputs = (values, weights, places)
    gradients = torch.autograd.grad((ours * noise).sum(), inputs)
    references = torch.autograd.grad((expected.flatten(2) * noise).sum(), inputs)
    for gradient, reference in zip(gradients, references, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-5)


def test_convolutional_linear_is_linear(monkeypatch):
    monkeypatch.setattr(cpu_linear, "convolutions_are_faster", lambda: True)
    torch.manual_seed(0)
    layer, x = nn.Linear(40, 24), torch.randn(3, 100, 40, requires_grad=True)
    inputs = (x, *layer.parameters())
    expected = layer(x)
    noise = torch.randn_like(expected)
    references = torch.autograd.grad((expected * noise).sum(), inputs)
    with convolutional_linear():
        ours = layer(x)
        assert "Convolution" in ours.grad_fn.next_functions[0][0].next_functions[0][0].name()
        gradients = torch.autograd.grad((ours * noise).sum(), inputs)
    with convolutional_linear(layer):
        assert torch.equal(layer(x), expected), "a small network"
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    for gradient, reference in zip(gradients, references, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=0, atol=1e-4)
    monkeypatch.setattr(cpu_linear, "convolutions_are_faster", lambda: False)
    with convolutional_linear():
        assert torch.equal(layer(x), expected)


def test_the_criterion_survives_images_without_masks():
    from scan_core.models.mask_decoder import Proposals

    torch.manual_seed(0)
    logits = torch.randn(3, 3, 8, 6)
    proposals = Proposals(torch.empty(0), torch.randn(3, 3, 8, 4), torch.randn(3, 4, 10, 14))
    targets = [
        Target(torch.tensor([1, 4]), torch.rand(2, 40, 56) < 0.3),
        Target(torch.tensor([], dtype=torch.int64), torch.zeros(0, 40, 56, dtype=torch.bool)),
        Target(torch.tensor([2, 0, 2]), torch.rand(3, 40, 56) < 0.6),
    ]
    points = torch.rand(50, 2)
    draws = PointDraws(
        points.expand(1, 3, 50, 2), torch.zeros(3, 5, 0, 2), points.expand(3, 5, 50, 2)
    )
    criterion = SetCriterion(2, 5, 4, 0.1, 50)
    losses = criterion(logits, proposals, targets, draws)
    without = SetCriterion(2, 5, 4, 0.1, 50, discard_last_auxiliary=True)
    difference = losses.total - without(logits, proposals, targets, draws).total
    torch.testing.assert_close(difference, (losses.classes + losses.masks + losses.dice)[-2])
    halved = criterion(logits, proposals, targets, draws, mean_masks=10.0)
    torch.testing.assert_close(2 * halved.dice, losses.dice)

    nothing = criterion(
        logits[:, 1:2],
        Proposals(torch.empty(0), proposals.mask_embeddings[:, 1:2], proposals.mask_features[1:2]),
        targets[1:2],
        draw_points(torch.rand, 3, 1, 0, 50, 3, 0.75),
    )
    assert nothing.masks.sum() == 0
    assert nothing.total > 0
    with pytest.raises(InputError, match="9 masks"):
        many = Target(torch.zeros(9, dtype=torch.int64), torch.zeros(9, 4, 4, dtype=torch.bool))
        criterion(logits[:, :1], proposals, [many], draws)


def test_parts_that_do_not_fit_together_are_refused():
    from parity_pack import ARCHITECTURE

    wrong = copy.deepcopy(ARCHITECTURE)
    wrong["mask_decoder"]["width"] = 96
    with pytest.raises(InputError, match="must be equal, they are 64 and 96"):
        build_network(wrong)
    wrong = copy.deepcopy(ARCHITECTURE)
    wrong["semantic_integration"]["clip_layers"] = [2, 4, 7]
    with pytest.raises(InputError, match="7 is more than the 6 blocks"):
        build_network(wrong)


@pytest.mark.parametrize(
    ("tag", "activation", "mean"),
    [
        ("datacomp_xl_s13b_b90k", nn.GELU, "OPENAI_DATASET_MEAN"),
        ("openai", QuickGELU, "OPENAI_DATASET_MEAN"),
        ("laion2b_s32b_b82k", nn.GELU, "INCEPTION_MEAN"),
        ("laion400m_e32", nn.GELU, "OPENAI_DATASET_MEAN"),
    ],
)
def test_clip_is_shown_images_as_its_weights_want_them(tag, activation, mean, monkeypatch):
    """The activation, and mean and deviation of crops and of whole images, in both towers."""
    from open_clip import constants

    small = {"width": 32, "layers": 2, "patch_size": 8, "image_size": 16, "head_width": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    sizes = {"embed_dim": 16, "vision_cfg": small, "text_cfg": text}
    monkeypatch.setattr("scan_core.models.clip.clip_config", lambda name: sizes)
    recipe = validate(read_params(ROOT / "params.yaml")).recipes["vitl14"]
    recipe = changed(recipe, {"clip.source": f"open_clip:{tag}"})
    weights = architecture_of(recipe.segmenter, recipe.clip)["clip_weights"]
    clip = build_clip("ViT-L-14", weights)
    assert {type(block.mlp.gelu) for block in blocks(clip.visual)} == {activation}
    assert type(clip.transformer.resblocks[0].mlp.gelu) is activation
    wanted = [255 * value for value in getattr(constants, mean)]
    image = torch.tensor(wanted).round().to(torch.uint8)[:, None, None].expand(3, 24, 24)
    everywhere = torch.ones(1, 24, 24, dtype=torch.bool)
    view = copy.deepcopy(clip.visual).input
    for shown in (
        resize_for_clip([image], view, False),
        resize_for_clip([image], view, True)[..., :12, :12],
        masked_crops(image, everywhere, view).images,
    ):
        assert shown.abs().max() < 0.01, "the mean colour is nothing"
