"""The three-line API: what must never change a result, and every odd input."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from parity_pack import ARCHITECTURE, image, tiny_network
from PIL import Image

from scan_core.errors import InputError
from scan_core.inference.class_map import class_maps, class_scores
from scan_core.inference.ensemble import InferenceSettings, combine_scores
from scan_core.inference.scan import Scan, settings_for
from scan_core.models.build import tokenizer_for
from scan_core.models.crops import masked_crops
from scan_core.models.preprocessing import read_image, resized_shape
from scan_core.params.reading import override, read_params, validate
from scan_core.params.schema.recipe import Recipe
from scan_core.params.schema.released_defects import ReleasedDefects

ROOT = Path(__file__).parents[1]
NAMES = ["sea", "sand", "red ball", "brick wall", "tent"]
SETTINGS = InferenceSettings(mask_threshold=0.9, clip_weight=0.6, replace_ratio=0.5)


def _scan(**defects):
    """The measured model, whose named weights tell words and regions apart, at a small size."""
    header = {
        "architecture": ARCHITECTURE,
        "prompts": "single",
        "seed": 0,
        "defects": {**dict.fromkeys(ReleasedDefects.model_fields, False), **defects},
        "inference": {
            "settings": asdict(SETTINGS),
            "short_side": 96,
            "longest_side": 256,
            "replace_layers": [1, 3],
            "logit_scale": 100.0,
            "crop_expansion": 1.0,
        },
    }
    return Scan(tiny_network(text_heads=False), tokenizer_for(ARCHITECTURE), header)


def _picture(height, width, seed=11):
    large_enough = image(seed, max(height, 2), max(width, 2))
    return np.ascontiguousarray(large_enough[:, :height, :width].transpose(1, 2, 0))


@pytest.fixture(scope="module")
def scan():
    return _scan()


@pytest.fixture(scope="module")
def picture():
    return _picture(90, 120)


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
    assert all(m.score >= 0.3 for m in result.masks(least_score=0.3))


def test_repeated_runs_are_equal_to_the_bit(scan, picture):
    first = scan.segment(picture, NAMES, SETTINGS)
    second = _scan().segment(picture, NAMES, SETTINGS)
    assert np.array_equal(first.class_map, second.class_map)
    assert torch.equal(first.scores, second.scores)
    assert torch.equal(first.evidence.mask_logits, second.evidence.mask_logits)


def test_neighbours_in_a_batch_change_nothing(scan, picture):
    pictures = [picture, _picture(40, 200, 1), _picture(90, 120, 2), picture]
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
    nothing_shown = InferenceSettings(mask_threshold=1.0, clip_weight=0.6, replace_ratio=0.5)
    in_vocabulary = InferenceSettings(mask_threshold=0.5, clip_weight=0, replace_ratio=0)
    result = scan.segment(picture, NAMES, nothing_shown)
    expected = scan.segment(picture, NAMES, in_vocabulary)
    torch.testing.assert_close(result.scores, expected.scores)
    assert np.array_equal(result.class_map, expected.class_map)


def test_a_mask_of_one_pixel(scan, picture):
    (evidence,) = scan.observe([picture], [])
    threshold = float(evidence.masks().flatten(1).topk(2).values[:, 1].min())
    one_pixel = (evidence.masks() > threshold).flatten(1).sum(1)
    assert 1 in one_pixel
    settings = InferenceSettings(mask_threshold=threshold, clip_weight=0.6, replace_ratio=0.5)
    assert torch.isfinite(scan.segment(picture, NAMES, settings).scores).all()


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
    tight = masked_crops(image, masks, 32)
    wide = masked_crops(image, masks, 32, expansion=1.6)
    assert tight.boxes.tolist() == [[20, 10, 40, 20], [0, 0, 60, 40]]
    assert wide.boxes.tolist() == [[14, 7, 46, 23], [0, 0, 60, 40]], "no wider than the image"
    assert tight.masks.all()
    assert wide.masks[0].float().mean() == pytest.approx(1 / 1.6**2, abs=0.02)
    assert not wide.images[0][:, ~wide.masks[0]][:, :32].any()
    assert torch.equal(masked_crops(image, masks, 32, expansion=1.0).images, tight.images)


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
    result = scan.segment(_picture(*size), NAMES, SETTINGS)
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


def test_a_sweep_gives_what_single_runs_give(scan, picture):
    grid = [
        InferenceSettings(threshold, weight, ratio, ensemble, crop_threshold)
        for threshold in (0.9, 0.95)
        for weight in (0, 0.4, 1)
        for ratio in (0, 0.5)
        for ensemble in ("geometric", "log")
        for crop_threshold in (None, 0.92)
    ]
    text = scan.embed(NAMES)
    array = read_image(picture)
    (evidence,) = scan.observe([array], grid)
    scores = [scan.score(evidence, text, settings) for settings in grid]
    found = class_maps(evidence.masks(), scores, array.shape[:2])
    for settings, class_map in zip(grid, found, strict=True):
        assert np.array_equal(class_map, scan.segment(picture, NAMES, settings).class_map)


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
    scan = _scan()
    scan.text_encoder.folder = tmp_path
    before = scan.text_encoder(NAMES)
    assert torch.equal(scan.text_encoder(NAMES[:2]), before[:2])
    (file,) = tmp_path.glob("*.safetensors")
    other = _scan()
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
    settings = InferenceSettings(mask_threshold=1.0, clip_weight=0.6, replace_ratio=0.5)
    with pytest.raises(InputError, match="fail_without_masks"):
        _scan(fail_without_masks=True).segment(picture, NAMES, settings)


def test_defect_first_image_context(scan, picture):
    pictures = [_picture(90, 120, 4), picture]
    broken = _scan(first_image_context=True).segment_all(pictures, NAMES, SETTINGS)
    alone = scan.segment_all(pictures, NAMES, SETTINGS)
    features = [next(iter(r.evidence.crop_features.values())) for r in (broken[1], alone[1])]
    assert not torch.allclose(*features, atol=1e-3)


def test_defect_global_random_draws(scan, picture):
    broken = _scan(global_random_draws=True)
    draws = [broken.segment(picture, NAMES, SETTINGS).scores for _ in range(2)]
    assert not torch.equal(*draws)
    assert torch.equal(*(scan.segment(picture, NAMES, SETTINGS).scores for _ in range(2)))


def test_defect_nearest_padded_view(scan, picture):
    broken = _scan(nearest_padded_view=True)
    wide = _picture(40, 200, 1)
    alone = broken.segment(picture, NAMES, SETTINGS).scores
    beside = broken.segment_all([picture, wide], NAMES, SETTINGS)[0].scores
    assert not torch.allclose(alone, beside, atol=1e-4), "its neighbour's padding is seen"


def test_defect_rejected_masks_score_one_and_zero_weight():
    logits, clip_logits = torch.randn(4, 6), torch.randn(4, 5)
    valid = torch.tensor([True, False, True, False])
    half = InferenceSettings(0.5, 0.5, 0)
    repaired = combine_scores(logits, clip_logits, valid, half)
    broken = combine_scores(logits, clip_logits, valid, half, rejected_score_one=True)
    inside = logits.softmax(-1)[:, :-1]
    torch.testing.assert_close(repaired[~valid], inside[~valid])
    torch.testing.assert_close(broken[~valid], inside[~valid].sqrt())
    assert torch.equal(repaired[valid], broken[valid])
    zero = InferenceSettings(0.5, 0, 0)
    torch.testing.assert_close(combine_scores(logits, clip_logits, valid, zero), inside)
    released = combine_scores(logits, clip_logits, valid, zero, zero_weight_is_clip_only=True)
    torch.testing.assert_close(released, clip_logits.softmax(-1) * valid[:, None])


def test_defect_stale_text_features():
    broken = _scan(stale_text_features=True)
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
    assert scan.settings == settings_for(recipe.inference, None)


def test_settings_of_a_recipe():
    recipes = validate(read_params(ROOT / "params.yaml")).recipes
    released = settings_for(recipes["vitl14"].inference, "ade20k_847")
    assert released == InferenceSettings(0.3, 0.75, 0.15, "log", None)
    assert settings_for(recipes["vitl14"].inference, None) == InferenceSettings(0.4, 0.7, 0.05)
    assert settings_for(recipes["mini"].inference, "mini_ade_36").crop_threshold == 0.5
    with pytest.raises(InputError, match="no value for the benchmark 'mini_ade_36'"):
        settings_for(recipes["vitl14"].inference, "mini_ade_36")
