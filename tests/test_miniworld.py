"""The miniature world is reproducible, honest about what is seen, and hard where it means to be."""

import numpy as np
import pytest

from scan_core.datasets.miniworld.captions import (
    captioned_cutouts,
    captioned_images,
    scene_captions,
)
from scan_core.datasets.miniworld.concepts import CONCEPTS, raw_table
from scan_core.datasets.miniworld.cutouts import MEAN_COLOR, imperfect
from scan_core.datasets.miniworld.raw_layouts import generate
from scan_core.datasets.miniworld.scenes import draw_scene
from scan_core.datasets.miniworld.shapes import landmark
from scan_core.datasets.miniworld.textures import texture
from scan_core.vocabulary.classes import load_class_list

SMALL = {"train": 5, "val": 4}


@pytest.mark.parametrize("layout", ["coco", "ade_challenge", "ade_full", "voc2012", "voc2010"])
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
    [("mini_coco_24", True), ("mini_ade_87", False), ("mini_context_50", False)],
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


def test_seen_flags_follow_from_the_training_vocabulary():
    training = set(load_class_list("mini_coco_24").names)
    trained_nouns = training | {name.split()[-1] for name in training} - {"wall", "floor"}
    for name in ("mini_ade_36", "mini_ade_87", "mini_voc_10", "mini_context_24", "mini_context_50"):
        classes = load_class_list(name)
        assert classes.seen is not None
        for word, seen in zip(classes.names, classes.seen, strict=True):
            assert seen == (word in trained_nouns), word
        assert 0.2 < np.mean(classes.seen) < 0.8


def test_look_alikes_share_every_pixel():
    for one, other in (("sun", "lamp"), ("tent", "igloo")):
        for shown, same in zip(landmark(one, 40), landmark(other, 40), strict=True):
            assert np.array_equal(shown, same)
    for one, other in (("sea", "pool"), ("cloud", "snow"), ("carpet", "rug"), ("hedge", "bush")):
        assert np.array_equal(texture(one), texture(other))


def test_captions_name_what_is_in_the_picture():
    for number in range(20):
        scene = draw_scene((5,), number, 64, seen_only=True)
        captions = scene_captions(np.random.default_rng(number), scene)
        assert len(set(captions)) == 5
        present = [CONCEPTS[i].kind[0] for i in np.unique(scene.concepts)]
        assert all(any(noun in caption for noun in present) for caption in captions)


def test_captioned_pictures_teach_the_whole_language():
    words: set[str] = set()
    for picture, names in captioned_images(seed=0, number=1500, size=16):
        assert picture.shape == (16, 16, 3)
        assert picture.dtype == np.uint8
        words |= {word for name in names for word in name.lower().rstrip(".").split()}
    language = {word for concept in CONCEPTS for name in concept.names for word in name.split()}
    assert language <= words
    one, two = (list(captioned_images(seed=3, number=70, size=16, workers=w)) for w in (1, 2))
    for (picture, names), (again, same) in zip(one, two, strict=True):
        assert np.array_equal(picture, again)
        assert names == same


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
