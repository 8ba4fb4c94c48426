"""The three-line API: what must never change a result, and every odd input."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from project import ROOT
from small_models import NAMES, SETTINGS, VIEW, picture_of, settings, tiny_scan

from scan_core.errors import InputError
from scan_core.inference.class_map import class_maps, class_scores, combine_scores
from scan_core.inference.scan import Scan
from scan_core.models.checkpoints import save_network
from scan_core.models.crops import masked_crops
from scan_core.models.preprocessing import ClipInput, read_image, resized_shape
from scan_core.params.reading import override, read_params, validate
from scan_core.params.schema.recipe import Recipe
from scan_core.params.settings import SettingsTable, TestSettings, resolve_settings, settings_table


@pytest.fixture(scope="module")
def scan():
    return tiny_scan()


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


def test_a_mask_of_one_pixel(scan, picture):
    (seen,) = scan.encode([picture], [settings(0.5, 0, 0, **VIEW)])
    image_features = seen.first
    threshold = float(image_features.masks().flatten(1).topk(2).values[:, 1].min())
    one_pixel = (image_features.masks() > threshold).flatten(1).sum(1)
    assert 1 in one_pixel
    one = settings(threshold, 0.6, 0.5, **VIEW)
    assert torch.isfinite(scan.segment(picture, NAMES, one).scores).all()


def _variants(picture):
    grey = Image.fromarray(picture).convert("L")
    yield "grey", grey, np.repeat(np.asarray(grey)[..., None], 3, axis=2)
    rgba = Image.fromarray(picture).convert("RGBA")
    rgba.putalpha(90)
    yield "rgba", rgba, picture
    palette = Image.fromarray(picture).quantize(64)
    yield "palette", palette, np.asarray(palette.convert("RGB"))
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    yield "16 bits", deep, np.repeat(np.asarray(grey)[..., None], 3, axis=2)
    turned = Image.fromarray(picture.transpose(1, 0, 2)[:, ::-1].copy())
    yield "rgb", turned, np.asarray(turned)


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


def test_names_in_other_templates(scan):
    names = ["sky", "red ball"]
    assert torch.equal(scan.embed(names), scan.embed(names, scan.header["prompts"]))
    assert not torch.equal(scan.embed(names), scan.embed(names, "vild"))


def test_images_of_every_kind(picture, tmp_path):
    for name, variant, expected in _variants(picture):
        variant.save(tmp_path / "image.png")
        assert np.array_equal(read_image(tmp_path / "image.png"), expected), name
        assert np.array_equal(read_image(variant), expected), name


def test_a_photograph_is_turned_as_its_camera_says(picture, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    Image.fromarray(picture).save(tmp_path / "photo.jpg", exif=exif)
    assert read_image(tmp_path / "photo.jpg").shape == (120, 90, 3)


@pytest.mark.parametrize("size", [(300, 30), (30, 300), (1, 1), (33, 31)])
def test_images_of_odd_sizes(scan, size):
    result = scan.segment(picture_of(*size), NAMES, SETTINGS)
    assert result.class_map.shape == size


def test_the_rule_of_resizing():
    assert resized_shape(480, 640, 640, 2560) == (640, 853)
    assert resized_shape(640, 480, 640, 2560) == (853, 640)
    assert resized_shape(100, 1000, 640, 2560) == (256, 2560)
    assert resized_shape(1, 5000, 640, 2560) == (1, 2560)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "does not exist"), (b"", "no image"), (b"GIF?", "no image"), ("cut", "damaged")],
)
def test_unreadable_images(scan, picture, tmp_path, content, says):
    path = tmp_path / "image.png"
    if content == "cut":
        Image.fromarray(picture).save(path)
        content = path.read_bytes()[:-2000]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says) as refusal:
        scan.segment(path, NAMES)
    assert "image.png" in str(refusal.value)


def test_bad_arrays_and_names(scan, picture):
    with pytest.raises(InputError, match=r"float64 of shape \(90, 120, 3\)"):
        scan.segment(picture / 255, NAMES)
    with pytest.raises(InputError, match="at least one name"):
        scan.segment(picture, [])
    with pytest.raises(InputError, match="none of them empty"):
        scan.segment(picture, ["sea", " "])
    with pytest.raises(InputError, match="too long"):
        scan.segment(picture, ["sea", "a very " * 40 + "long name"])


def test_a_saved_model_is_the_same_model(scan, picture, tmp_path):
    scan.save(tmp_path / "model.safetensors", recipe="mini")
    again = Scan.from_checkpoint(tmp_path / "model.safetensors")
    assert again.header["recipe"] == "mini"
    assert again.settings == scan.settings
    first, second = scan.segment(picture, NAMES), again.segment(picture, NAMES)
    assert torch.equal(first.scores, second.scores)


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


@pytest.mark.slow
def test_847_classes_on_a_large_image_need_little_memory():
    """All scores at once would take 9 GB."""
    program = """
import resource, torch
from scan_core.inference.class_map import class_maps
masks, scores = torch.rand(100, 640, 853), torch.rand(100, 847)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
class_maps(masks, [scores], (1500, 2000))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < 500, "MiB"


def test_text_features_follow_the_weights_and_are_kept_on_disk(tmp_path):
    scan = tiny_scan()
    scan.text_encoder.folder = tmp_path
    before = scan.text_encoder(NAMES)
    assert torch.equal(scan.text_encoder(NAMES[:2]), before[:2])
    (file,) = tmp_path.glob("*.safetensors")
    other = tiny_scan()
    other.text_encoder.folder = tmp_path
    other.text_encoder._encode = None  # whatever is not in the file would have to be encoded
    assert torch.equal(other.text_encoder(NAMES), before)
    with torch.no_grad():
        scan.network.clip.text_projection.mul_(-1)
    after = scan.text_encoder(NAMES)
    torch.testing.assert_close(after, -before)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    assert file.is_file()


# The defects of the released model: each switch brings one back, and nothing else does.


def test_defect_fail_without_masks(picture):
    nothing_shown = settings(1.0, 0.6, 0.5, **VIEW)
    with pytest.raises(InputError, match="fail_without_masks"):
        tiny_scan(fail_without_masks=True).segment(picture, NAMES, nothing_shown)


def test_defect_first_image_context(scan, picture):
    pictures = [picture_of(90, 120, 4), picture]
    broken = tiny_scan(first_image_context=True).segment_all(pictures, NAMES, SETTINGS)
    alone = scan.segment_all(pictures, NAMES, SETTINGS)
    features = [next(iter(r.seen.first.crop_features.values())) for r in (broken[1], alone[1])]
    assert not torch.allclose(*features, atol=1e-3)


def test_defect_global_random_draws(scan, picture):
    broken = tiny_scan(global_random_draws=True)
    draws = [broken.segment(picture, NAMES, SETTINGS).scores for _ in range(2)]
    assert not torch.equal(*draws)
    assert torch.equal(*(scan.segment(picture, NAMES, SETTINGS).scores for _ in range(2)))


def test_defect_nearest_padded_view(scan, picture):
    broken = tiny_scan(nearest_padded_view=True)
    wide = picture_of(40, 200, 1)
    alone = broken.segment(picture, NAMES, SETTINGS).scores
    beside = broken.segment_all([picture, wide], NAMES, SETTINGS)[0].scores
    assert not torch.allclose(alone, beside, atol=1e-4), "its neighbour's padding is seen"


def test_defect_rejected_masks_score_one_and_zero_weight():
    logits, clip_logits = torch.randn(4, 6), torch.randn(4, 5)
    valid = torch.tensor([True, False, True, False])
    half = settings(0.5, 0.5, 0)
    repaired = combine_scores(logits, clip_logits, valid, half)
    broken = combine_scores(logits, clip_logits, valid, half, rejected_score_one=True)
    inside = logits.softmax(-1)[:, :-1]
    torch.testing.assert_close(repaired[~valid], inside[~valid])
    torch.testing.assert_close(broken[~valid], inside[~valid].sqrt())
    assert torch.equal(repaired[valid], broken[valid])
    zero = settings(0.5, 0, 0)
    torch.testing.assert_close(combine_scores(logits, clip_logits, valid, zero), inside)
    released = combine_scores(logits, clip_logits, valid, zero, zero_weight_is_clip_only=True)
    torch.testing.assert_close(released, clip_logits.softmax(-1) * valid[:, None])


def test_defect_stale_text_features():
    broken = tiny_scan(stale_text_features=True)
    before = broken.text_encoder(NAMES)
    with torch.no_grad():
        broken.network.clip.text_projection.mul_(-1)
    assert torch.equal(broken.text_encoder(NAMES), before)


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
    assert (released.replace_ratio, released.ensemble) == (0.15, "log")
    assert released.replace_layers == (1, 3, 5, 7, 9)
    assert released.crop_threshold == released.mask_threshold, "as released"
    of_no_benchmark = resolve_settings(recipes["vitl14"])
    assert of_no_benchmark == resolve_settings(recipes["vitl14"], "my_own_benchmark")
    assert (of_no_benchmark.mask_threshold, of_no_benchmark.clip_weight) == (0.4, 0.7)
    assert of_no_benchmark.replace_ratio == 0.05
    assert resolve_settings(recipes["vitb16"]).replace_layers == (1, 3, 5), "not those of training"
    assert TestSettings.from_dict(released.as_dict()) == released
    assert len({released.key, of_no_benchmark.key}) == 2


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
    save_network(tmp_path / "model.safetensors", scan.network, header)
    with pytest.raises(InputError, match="holds no test-time settings"):
        Scan.from_checkpoint(tmp_path / "model.safetensors")
    given = SettingsTable(SETTINGS, {"one": settings()})
    again = Scan.from_checkpoint(tmp_path / "model.safetensors", given)
    assert again.settings == SETTINGS
    with pytest.raises(InputError, match="the benchmark 'two'; there are some for one"):
        again.settings_table.of("two")
