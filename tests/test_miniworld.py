"""The miniature world is reproducible, honest about what is seen, and hard where it means to be."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from scan_core.datasets.miniworld.captions import captioned_cutouts, captioned_images
from scan_core.datasets.miniworld.concepts import CONCEPTS, STUFF, raw_table
from scan_core.datasets.miniworld.cutouts import MEAN_COLOR, cutout, imperfect
from scan_core.datasets.miniworld.raw_layouts import generate
from scan_core.datasets.miniworld.scenes import draw_scene
from scan_core.datasets.miniworld.shapes import landmark
from scan_core.datasets.miniworld.textures import texture
from scan_core.models.crops import masked_crops
from scan_core.models.preprocessing import ClipInput
from scan_core.vocabulary.classes import load_class_list

LAYOUTS = ("coco", "ade_challenge", "ade_full", "voc2012", "voc2010")
SMALL = {"train": 5, "val": 4}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_seed_draws_the_same_bytes_with_any_number_of_workers(layout, tmp_path):
    first = generate(layout, tmp_path / "a", 3, 64, SMALL, workers=1)
    second = generate(layout, tmp_path / "b", 3, 64, SMALL, workers=2)
    other = generate(layout, tmp_path / "c", 4, 64, SMALL, workers=1)
    assert first == second
    assert first["sha256"] != other["sha256"]


def test_more_images_do_not_change_the_first_ones(tmp_path):
    few, many = tmp_path / "few", tmp_path / "many"
    generate("coco", few, 0, 64, {"train": 2, "val": 1}, workers=1)
    generate("coco", many, 0, 64, {"train": 6, "val": 1}, workers=1)
    for path in sorted(few.rglob("*2017/*.*g")):
        assert path.read_bytes() == (many / path.relative_to(few)).read_bytes()


def test_training_scenes_hold_the_training_vocabulary_and_two_look_alikes():
    table = raw_table(load_class_list("mini_coco_24"), other=255)
    for number in range(200):
        scene = draw_scene((1,), number, 64, seen_only=True)
        unnamed = {CONCEPTS[i].names[0] for i in np.unique(scene.concepts) if table[i] == 255}
        assert unnamed <= {"lamp", "pool"}, "as COCO's images hold more than its classes"


@pytest.mark.parametrize(
    ("name", "seen_only"),
    [
        ("mini_coco_24", True),
        ("mini_ade_36", False),
        ("mini_ade_87", False),
        ("mini_voc_10", False),
        ("mini_context_24", False),
        ("mini_context_50", False),
    ],
)
def test_every_class_occurs(name, seen_only):
    classes = load_class_list(name)
    table = raw_table(classes, other=60_000)
    found: set[int] = set()
    for number in range(120):
        scene = draw_scene((2,), number, 64, seen_only)
        found |= set(np.unique(table[scene.concepts]).tolist())
    missing = [n for n, raw in zip(classes.names, classes.raw_ids, strict=True) if raw not in found]
    assert missing == []


def test_things_are_independent_of_the_setting_and_differ_between_streams():
    settings: dict[int, set[str]] = {}
    for number in range(900):
        scene = draw_scene((5, 1), number, 32)
        for thing in scene.things:
            if CONCEPTS[thing].shape:
                settings.setdefault(thing, set()).add(scene.setting)
    assert np.mean([len(found) for found in settings.values()]) > 4
    same = [
        set(draw_scene((5, 1), n, 32).things) == set(draw_scene((5, 2), n, 32).things)
        for n in range(50)
    ]
    assert not any(same)


def test_seen_flags_follow_from_the_training_vocabulary():
    training = set(load_class_list("mini_coco_24").names)
    trained_nouns = training | {name.split()[-1] for name in training if " " in name} - {
        "wall",
        "floor",
    }
    for name in ("mini_ade_36", "mini_ade_87", "mini_voc_10", "mini_context_24", "mini_context_50"):
        classes = load_class_list(name)
        assert classes.seen is not None
        for word, seen in zip(classes.names, classes.seen, strict=True):
            assert seen == (word in trained_nouns), word
        assert 0.2 < np.mean(classes.seen) < 0.8


def test_fathers_make_sense():
    classes = load_class_list("mini_ade_87")
    names = classes.names
    related = {names[c]: {names[f] for f in parents} for c, parents in classes.parents.items()}
    assert related["red ball"] == {"ball"}
    assert related["brick wall"] == {"wall"}
    synonyms = load_class_list("mini_context_50")
    rug, carpet = synonyms.names.index("rug"), synonyms.names.index("carpet")
    assert synonyms.parents[rug] == (carpet,)
    assert synonyms.parents[carpet] == (rug,)


def test_look_alikes_share_every_pixel():
    for one, other in (("sun", "lamp"), ("tent", "igloo")):
        mask, pixels = landmark(one, 40)
        same_mask, same_pixels = landmark(other, 40)
        assert np.array_equal(mask, same_mask)
        assert np.array_equal(pixels, same_pixels)
    for one, other in (("sea", "pool"), ("cloud", "snow"), ("carpet", "rug"), ("hedge", "bush")):
        assert np.array_equal(texture(one), texture(other))


def test_captions_name_what_is_in_the_picture(tmp_path):
    generate("coco", tmp_path, 0, 64, {"train": 20, "val": 1}, workers=1)
    captions = json.loads((tmp_path / "coco/annotations/captions_train2017.json").read_text())
    by_image: dict[int, list[str]] = {}
    for annotation in captions["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation["caption"])
    classes = load_class_list("mini_coco_24")
    for image in captions["images"]:
        own = by_image[image["id"]]
        assert len(set(own)) == 5
        name = image["file_name"].replace(".jpg", ".png")
        with Image.open(tmp_path / "coco/stuffthingmaps/train2017" / name) as file:
            present = set(np.unique(np.asarray(file)).tolist())
        nouns = {
            n.split()[-1]
            for n, raw in zip(classes.names, classes.raw_ids, strict=True)
            if raw in present
        }
        assert any(noun in caption for noun in nouns for caption in own)


def test_captioned_pictures_teach_the_whole_language():
    words: set[str] = set()
    for picture, names in captioned_images(seed=0, number=1500, size=16):
        assert picture.shape == (16, 16, 3)
        assert picture.dtype == np.uint8
        words |= {word for name in names for word in name.lower().rstrip(".").split()}
    language = {word for concept in CONCEPTS for name in concept.names for word in name.split()}
    assert language <= words
    assert len(STUFF) == 20
    one = list(captioned_images(seed=3, number=70, size=16))
    for (picture, names), (again, same) in zip(
        one, captioned_images(seed=3, number=70, size=16, workers=2), strict=True
    ):
        assert np.array_equal(picture, again)
        assert names == same


def test_cutouts_are_the_crops_that_clip_is_shown(monkeypatch):
    """With the mask known, `masked_crops` makes the same picture."""
    scene = draw_scene((6,), 3, 128)
    masks = {}

    def remembered(rng, mask):
        masks["used"] = imperfect(rng, mask)
        return masks["used"]

    monkeypatch.setattr("scan_core.datasets.miniworld.cutouts.imperfect", remembered)
    monkeypatch.setattr("scan_core.datasets.miniworld.cutouts._EXPANSION", (1.6, 1.6))
    for seed in range(6):
        picture, _ = cutout(np.random.default_rng(seed), scene, 48)
        image = torch.from_numpy(scene.pixels.transpose(2, 0, 1).copy())
        crop = masked_crops(
            image, torch.from_numpy(masks["used"])[None], ClipInput(48), 1.6
        ).images[0]
        expected = crop * torch.tensor(ClipInput(0).std)[:, None, None]
        found = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32))
        found = found - torch.tensor(ClipInput(0).mean)[:, None, None]
        assert (found - expected).abs().mean() < 4, "of 255: only the filter's shape differs"


def test_cutouts_hide_what_they_do_not_name():
    mask = np.zeros((128, 128), bool)
    mask[30:80, 40:100] = True
    ious = []
    for seed in range(60):
        proposed = imperfect(np.random.default_rng(seed), mask)
        ious.append((proposed & mask).sum() / (proposed | mask).sum())
    assert min(ious) >= 0.5
    assert 0.7 < np.mean(ious) < 0.95, "imperfect, as proposals are"
    names = [names for _, names in captioned_cutouts(seed=3, number=200, size=16)]
    assert {"ball", "sky", "lamp"} < {name for of_one in names for name in of_one}
    hidden = [
        (picture == MEAN_COLOR).all(-1).mean()
        for picture, _ in captioned_cutouts(seed=3, number=30, size=32)
    ]
    assert np.mean(hidden) > 0.2
