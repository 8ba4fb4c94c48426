"""The three-line API: what must never change a result, and every odd input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from project import ROOT
from small_models import NAMES, SETTINGS, VIEW, class_scores, picture_of, settings, tiny_scan

from scan_core.errors import InputError
from scan_core.inference.class_map import class_maps
from scan_core.inference.scan import Scan
from scan_core.models.crops import masked_crops
from scan_core.models.preprocessing import ClipInput
from scan_core.models.resizing import resized_shape
from scan_core.params.reading import override, read_params, validate
from scan_core.params.schema.recipe import Recipe
from scan_core.params.settings import SettingsTable, TestSettings, resolve_settings, settings_table
from scan_core.storage.images import read_image
from scan_core.storage.weights import save_tensors


@pytest.fixture(scope="module")
def picture():
    return picture_of(90, 120)


def test_the_result_is_what_it_says(scan, picture):
    result = scan.segment(picture, NAMES, SETTINGS)
    assert result.class_map.shape == (90, 120)
    assert result.class_map.dtype == np.int32
    assert result.scores.shape == (100, 5)
    assert len(np.unique(result.class_map)) > 1, "a picture of one class would test nothing"
    masks = list(result.masks())
    assert masks
    assert [m.score for m in masks] == sorted((m.score for m in masks), reverse=True)
    assert all(m.mask.shape == (90, 120) and m.mask.any() for m in masks)
    assert all(m.class_name == NAMES[m.class_id] for m in masks)
    assert all(m.score >= 0.3 for m in result.masks(minimum_score=0.3))


def test_repeated_runs_are_equal_to_the_bit(scan, picture):
    first = scan.segment(picture, NAMES, SETTINGS)
    second = tiny_scan().segment(picture, NAMES, SETTINGS)
    assert np.array_equal(first.class_map, second.class_map)
    assert torch.equal(first.scores, second.scores)
    assert torch.equal(first.seen.first.mask_logits, second.seen.first.mask_logits)


def test_a_precision_is_of_a_request_not_of_the_model(scan, picture):
    exact = scan.segment(picture, NAMES, SETTINGS)
    lower = [replace(SETTINGS, precision=word) for word in ("bfloat16", "float16")]
    (seen,) = scan.encode([picture], lower)
    text = scan.embed(NAMES)
    scores = {one.precision: scan.score(seen, text, one) for one in lower}
    for one in lower:
        alone = scan.segment(picture, NAMES, one)
        assert torch.equal(alone.scores, scores[one.precision])
        assert not torch.equal(alone.scores, exact.scores)
        assert (alone.class_map == exact.class_map).mean() > 0.995
        masks = alone.seen.first.mask_logits
        assert torch.equal(masks, exact.seen.first.mask_logits), "masks are never rounded"
    assert not torch.equal(scores["bfloat16"], scores["float16"])
    again = scan.segment(picture, NAMES, SETTINGS)
    assert torch.equal(again.scores, exact.scores), "the model itself was not rounded"


def test_tf32_is_allowed_as_the_settings_say_and_only_meanwhile(scan, picture):
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    seen = []
    hook = scan.network.proposal_network.register_forward_pre_hook(
        lambda *_: seen.append({switch.allow_tf32 for switch in switches})
    )
    for precision in ("float32", "tf32", "bfloat16"):
        scan.segment(picture, NAMES, replace(SETTINGS, precision=precision))
    hook.remove()
    assert seen == [{False}, {True}, {True}]
    assert [switch.allow_tf32 for switch in switches] == before


def test_neighbours_in_a_batch_change_nothing(scan, picture):
    pictures = [picture, picture_of(40, 200, 1), picture_of(90, 120, 2), picture]
    together = scan.segment_all(pictures, NAMES, SETTINGS)
    for one, result in zip(pictures, together, strict=True):
        alone = scan.segment(one, NAMES, SETTINGS)
        assert np.array_equal(alone.class_map, result.class_map)
        assert torch.equal(alone.scores, result.scores)


def test_the_order_of_names_is_the_order_of_results(scan, picture):
    order = [3, 0, 4, 1, 2]
    result = scan.segment(picture, NAMES, SETTINGS)
    permuted = scan.segment(picture, [NAMES[i] for i in order], SETTINGS)
    torch.testing.assert_close(permuted.scores, result.scores[:, order], rtol=1e-5, atol=1e-7)
    assert np.array_equal(np.array(order)[permuted.class_map], result.class_map)


@pytest.mark.parametrize("count", [1, 2000])
def test_any_number_of_classes(scan, picture, count):
    names = [f"thing {number}" for number in range(count)]
    result = scan.segment(picture, names, SETTINGS)
    assert result.scores.shape == (100, count)
    assert 0 <= result.class_map.min() <= result.class_map.max() < count


def test_an_image_without_a_valid_mask_keeps_what_the_segmenter_says(scan, picture):
    nothing_shown = settings(1.0, 0.6, 0.5, **VIEW)
    in_vocabulary = settings(0.5, 0, 0, **VIEW)
    result = scan.segment(picture, NAMES, nothing_shown)
    expected = scan.segment(picture, NAMES, in_vocabulary)
    torch.testing.assert_close(result.scores, expected.scores)
    assert np.array_equal(result.class_map, expected.class_map)


def test_crops_with_surroundings():
    """Around the mask there is nothing to see, but there are tokens for contextual shift."""
    image = torch.full((3, 40, 60), 200, dtype=torch.uint8)
    masks = torch.zeros(2, 40, 60, dtype=torch.bool)
    masks[0, 10:20, 20:40] = True
    masks[1, :, :] = True
    tight = masked_crops(image, masks, ClipInput(32))
    wide = masked_crops(image, masks, ClipInput(32), expansion=1.6)
    assert tight.boxes.tolist() == [[20, 10, 40, 20], [0, 0, 60, 40]]
    assert wide.boxes.tolist() == [[14, 7, 46, 23], [0, 0, 60, 40]], "no wider than the image"
    assert tight.masks.all()
    assert wide.masks[0].float().mean() == pytest.approx(1 / 1.6**2, abs=0.02)
    assert not wide.images[0][:, ~wide.masks[0]][:, :32].any()
    assert torch.equal(
        masked_crops(image, masks, ClipInput(32), expansion=1.0).images, tight.images
    )


def test_images_of_every_kind(picture, tmp_path):
    for mode in ("L", "P", "RGB", "RGBA"):
        image = Image.fromarray(picture).convert(mode)
        if mode == "RGBA":
            image.putalpha(90)
        image.save(tmp_path / "image.png")
        for given in (image, tmp_path / "image.png"):
            assert np.array_equal(read_image(given), np.asarray(image.convert("RGB"))), mode


@pytest.mark.parametrize("size", [(300, 30), (30, 300), (1, 1), (33, 31)])
def test_images_of_odd_sizes(scan, size):
    result = scan.segment(picture_of(*size), NAMES, SETTINGS)
    assert result.class_map.shape == size


def test_the_rule_of_resizing():
    assert resized_shape(480, 640, 640, 2560) == (640, 853)
    assert resized_shape(640, 480, 640, 2560) == (853, 640)
    assert resized_shape(100, 1000, 640, 2560) == (256, 2560)
    assert resized_shape(1, 5000, 640, 2560) == (1, 2560)


def test_bad_arrays_and_names(scan, picture):
    with pytest.raises(InputError, match=r"float64 of shape \(90, 120, 3\)"):
        scan.segment(picture / 255, NAMES)
    with pytest.raises(InputError, match="at least one name"):
        scan.segment(picture, [])
    with pytest.raises(InputError, match="none of them empty"):
        scan.segment(picture, ["sea", " "])
    with pytest.raises(InputError, match="too long"):
        scan.segment(picture, ["sea", "a very " * 40 + "long name"])


def test_many_settings_at_once_give_what_single_runs_give(scan, picture):
    grid = [
        settings(
            threshold,
            weight,
            ratio,
            ensemble=ensemble,
            crop_threshold=crop_threshold,
            **{**VIEW, "replace_layers": layers},
        )
        for threshold, crop_threshold in ((0.9, 0.9), (0.95, 0.95), (0.95, 0.92))
        for weight, ensemble in ((0, "geometric"), (0.4, "log"), (1, "geometric"))
        for ratio, layers in ((0, (1, 3)), (0.5, (1, 3)), (0.5, (2,)))
    ]
    text = scan.embed(NAMES)
    (seen,) = scan.encode([picture], grid)
    scores = [scan.score(seen, text, one) for one in grid]
    found = class_maps(seen.masks((90, 120)), scores, (90, 120))
    for one, class_map in zip(grid, found, strict=True):
        assert np.array_equal(class_map, scan.segment(picture, NAMES, one).class_map)


@pytest.mark.parametrize(
    "change",
    [
        {"replace_layers": (2,)},
        {"replace_ratio": 0.9},
        {"crop_threshold": 0.8},
        {"crop_expansion": 1.5},
        {"logit_scale": "learned"},
        {"prompts": "vild"},
        {"short_side": 64},
        {"flip": True},
        {"scales": (1.0, 1.5)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_reaches_the_prediction(scan, picture, change):
    plain = scan.segment(picture, NAMES)
    changed = scan.segment(picture, NAMES, replace(SETTINGS, **change))
    assert changed.scores.shape != plain.scores.shape or not torch.equal(
        changed.scores, plain.scores
    )


@pytest.mark.parametrize("output", [(60, 80), (37, 51), (200, 111), (60, 90), (90, 80)])
def test_class_maps_are_the_argmax_of_class_scores(output, monkeypatch):
    monkeypatch.setattr("scan_core.inference.class_map._CHUNK_ELEMENTS", {"cpu": 5000})
    torch.manual_seed(0)
    masks, scores = torch.rand(7, 60, 80), torch.rand(7, 9)
    whole = class_scores(masks, scores, output)
    (found,) = class_maps(masks, [scores], output)
    best = whole.max(0).values
    chosen = whole.gather(0, found[None].long())[0]
    torch.testing.assert_close(chosen, best, rtol=0, atol=1e-5)
    assert (found == whole.argmax(0)).float().mean() > 0.999
    first, other, same = class_maps(masks, [scores, 1 - scores, scores.clone()], output)
    assert torch.equal(first, found)
    assert torch.equal(same, found)
    assert torch.equal(other, class_maps(masks, [1 - scores], output)[0])


# The defects of the released model: each switch brings one back, and nothing else does.


def test_defect_fail_without_masks(picture):
    nothing_shown = settings(1.0, 0.6, 0.5, **VIEW)
    with pytest.raises(InputError, match="fail_without_masks"):
        tiny_scan(fail_without_masks=True).segment(picture, NAMES, nothing_shown)


def test_defect_global_random_draws(scan, picture):
    broken = tiny_scan(global_random_draws=True)
    draws = [broken.segment(picture, NAMES, SETTINGS).scores for _ in range(2)]
    assert not torch.equal(*draws)
    assert torch.equal(*(scan.segment(picture, NAMES, SETTINGS).scores for _ in range(2)))


def test_faithful_means_all_of_them():
    document = read_params(ROOT / "params.yaml")["recipes"]["mini"]
    for faithful in (False, True):
        recipe = Recipe.model_validate(override(document, "faithful", faithful))
        assert set(recipe.defects.model_dump().values()) == {faithful}


def test_a_recipe_becomes_a_model(picture):
    """All three lines, with random weights."""
    recipe = validate(read_params(ROOT / "params.yaml")).recipes["mini"]
    scan = Scan.from_recipe(recipe)
    result = scan.segment(picture, NAMES)
    assert result.class_map.shape == (90, 120)
    assert scan.settings_table == settings_table(recipe)
    assert scan.settings == resolve_settings(recipe)


def test_settings_of_a_recipe():
    recipes = validate(read_params(ROOT / "params.yaml")).recipes
    released = resolve_settings(recipes["vitl14"], "ade20k_847")
    assert (released.mask_threshold, released.clip_weight) == (0.3, 0.75)
    assert released.replace_layers == (1, 3, 5, 7, 9)
    assert released.crop_threshold == released.mask_threshold, "as released"
    of_no_benchmark = resolve_settings(recipes["vitl14"])
    assert of_no_benchmark == resolve_settings(recipes["vitl14"], "my_own_benchmark")
    assert resolve_settings(recipes["vitb16"]).replace_layers == (1, 3, 5), "not those of training"
    assert TestSettings.from_dict(released.as_dict()) == released


def test_a_mask_threshold_below_that_of_the_crops_is_refused():
    with pytest.raises(InputError, match="is below crop_threshold"):
        settings(0.4, crop_threshold=0.5)


def test_without_contextual_shift_in_training_there_is_none_at_test_time():
    document = read_params(ROOT / "params.yaml")["recipes"]["mini"]
    document = override(document, "inference.replace_ratio", 0.3)
    shifted = Recipe.model_validate(document)
    plain = Recipe.model_validate(override(document, "clip_finetune.contextual_shift", False))
    assert resolve_settings(shifted, "mini_ade_36").replace_ratio > 0
    for benchmark in (None, "mini_ade_36"):
        assert resolve_settings(plain, benchmark).replace_ratio == 0


def test_a_model_of_the_workflow_holds_no_settings_and_says_so(scan, tmp_path):
    header = {key: value for key, value in scan.header.items() if key != "test_settings"}
    save_tensors(tmp_path / "model.safetensors", scan.network.state_dict(), header)
    with pytest.raises(InputError, match="holds no test-time settings"):
        Scan.from_checkpoint(tmp_path / "model.safetensors")
    given = SettingsTable(SETTINGS, {"one": settings()})
    again = Scan.from_checkpoint(tmp_path / "model.safetensors", given)
    assert again.settings == SETTINGS
    with pytest.raises(InputError, match="the benchmark 'two'; there are some for one"):
        again.settings_table.of("two")
