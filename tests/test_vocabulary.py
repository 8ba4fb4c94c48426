"""The class lists are those of the benchmarks, and a list of one's own is checked."""

import json

import numpy as np
import pytest

from scan_core.errors import InputError
from scan_core.vocabulary.classes import builtin_class_lists, load_class_list

SIZES = {
    "coco_stuff_171": 171, "ade20k_150": 150, "ade20k_847": 847, "voc_20": 20, "voc_20b": 21,
    "context_59": 59, "context_459": 459,
}  # fmt: skip


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_sizes_and_label_types(name, size):
    classes = load_class_list(name)
    assert len(classes) == size
    assert (classes.label_dtype, classes.ignore_label) == (
        (np.uint8, 255) if size <= 255 else (np.uint16, 65535)
    )


def test_every_builtin_list_loads_and_its_relations_point_inside():
    for name in builtin_class_lists():
        classes = load_class_list(name)
        for child, parents in classes.parents.items():
            assert all(0 <= parent < len(classes) and parent != child for parent in parents)
        if classes.predict_with:
            assert len(load_class_list(classes.predict_with)) >= len(classes) - 1


def test_relations_of_the_paper_are_complete():
    complete = {"ade20k_150": 33, "ade20k_847": 306, "context_459": 122}
    assert {name: len(load_class_list(name).parents) for name in complete} == complete


def test_coco_stuff_drops_the_eleven_ids():
    table = load_class_list("coco_stuff_171").training_ids(np.arange(256))
    dropped = [11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90]
    kept = [i for i in range(182) if i not in dropped]
    assert table[kept].tolist() == list(range(171))
    assert set(table[dropped + list(range(182, 256))].tolist()) == {255}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"names": ["a", "a"]}, "a name twice"),
        ({"names": ["Red  ball", "red ball"]}, "'Red  ball' and 'red ball' are one to CLIP"),
        ({"names": ["salt &amp; pepper", "salt & pepper"]}, "are one to CLIP"),
        ({"names": ["caf\u00e9", "cafe\u0301"]}, "are one to CLIP"),
        ({"names": ["a", "  "]}, "names.1: a class name is empty"),
        ({"names": ["a", "b\nc"]}, "names.1: the class name .* has more than one line"),
        ({"names": ["a", "half \ud83d"]}, "unexpected end of hex escape"),
        ({"raw_ids": [1]}, "one number for each"),
        ({"raw_ids": [1, -2]}, "raw_ids.1: .* greater than or equal to 0, got -2"),
        ({"raw_ids": [1, 10**12]}, "raw_ids.1: .* less than or equal to"),
        ({"parents": {"a": ["c"]}}, "'c', which is not among"),
        ({"parents": {"a": "b"}}, "parents.a: Input should be a valid array"),
        ({"seen": [1, 0]}, "seen.0: Input should be a valid boolean"),
        ({"nams": []}, "nams: unknown key .did you mean 'names'"),
    ],
)
def test_a_list_of_ones_own_is_checked(tmp_path, change, words):
    path = tmp_path / "mine.json"
    path.write_text("\ufeff" + json.dumps({"names": ["a", "b"], "raw_ids": [1, 2]}))
    assert load_class_list(str(path)).names == ("a", "b"), "a byte order mark is no part of it"
    path.write_text(json.dumps({"names": ["a", "b"], "raw_ids": [1, 2]} | change))
    with pytest.raises(InputError, match=f"class list {path}: .*{words}"):
        load_class_list(str(path))


@pytest.mark.parametrize("text", ["null", "[]", "{", "[" * 100_000, '{"names": ' * 100_000])
def test_what_is_no_list_is_one_message(tmp_path, text):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(InputError, match=str(path)):
        load_class_list(str(path))


def test_an_unknown_list_names_the_known_ones():
    with pytest.raises(InputError, match="ade20k_150"):
        load_class_list("ade20k")
