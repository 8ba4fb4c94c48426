"""params.yaml is read exactly, and what is wrong with it is said in one line."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from scan_core.errors import InputError
from scan_core.params.reading import override, read_params, select_params, validate
from scan_core.params.schema.recipe import Recipe

ROOT = Path(__file__).parents[1]


@pytest.fixture
def document():
    return read_params(ROOT / "params.yaml")


def test_the_shipped_file_is_valid_and_runs_mini(document):
    params = validate(document)
    assert params.recipe == "mini"
    assert set(params.recipes) == {"mini", "vitb16", "vitl14"}


def test_paper_recipes_hold_the_released_settings(document):
    recipes = validate(document).recipes
    released = {  # mask threshold, CLIP weight, replace ratio
        "vitl14": {
            "ade20k_847": (0.30, 0.75, 0.15),
            "ade20k_150": (0.55, 0.75, 0.05),
            "context_459": (0.25, 0.65, 0.05),
            "context_59": (0.50, 0.50, 0.05),
            "voc_20": (0.20, 0.65, 0.10),
        },
        "vitb16": {
            "ade20k_847": (0.25, 0.75, 0.05),
            "ade20k_150": (0.40, 0.70, 0.05),
            "context_459": (0.25, 0.70, 0.05),
            "context_59": (0.25, 0.35, 0.05),
            "voc_20": (0.20, 0.45, 0.10),
        },
    }
    for name, settings in released.items():
        test = recipes[name].inference
        tables = (test.mask_threshold, test.clip_weight, test.replace_ratio)
        for benchmark, expected in settings.items():
            assert tuple(table[benchmark] for table in tables) == expected
        assert {b for b, rule in test.ensemble.items() if rule == "log"} == {
            "ade20k_847",
            "context_459",
        }


def test_numbers_are_yaml_1_2(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("rate: 6e-5\nword: off\n")
    assert read_params(file) == {"rate": 6e-5, "word": "off"}


def _set(path, value):
    def change(document):
        *blocks, last = path.split(".")
        here = document
        for block in blocks:
            here = here[int(block) if block.isdigit() else block]
        here[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            _set("recipes.mini.segmenter.training.lerning_rate", 1e-3),
            ["recipes.mini.segmenter.training.lerning_rate", "did you mean 'learning_rate'"],
        ),
        (_set("ablation", []), ["ablation: unknown key, did you mean 'ablations'"]),
        (_set("recipe", "vitl41"), ["recipe: 'vitl41' is unknown, did you mean 'vitl14'"]),
        (_set("recipes.mini.seed", "zero"), ["recipes.mini.seed", "integer", "'zero'"]),
        (
            _set("recipes.mini.inference.clip_weight", 1.5),
            ["recipes.mini.inference.clip_weight: ", "less than or equal to 1, got 1.5"],
        ),
        (
            _set("recipes.mini.inference.mask_threshold", {"mini_ade_36": 0.5}),
            ["'inference.mask_threshold' needs a 'default'"],
        ),
        (
            _set("recipes.mini.clip.architecture.patch", 8),
            ["recipes.mini.clip.architecture.patch", "did you mean 'patch_size'"],
        ),
        (
            _set("recipes.mini.datasets.source", "dowload"),
            ["recipes.mini.datasets.source", "generate | download | local:<...>"],
        ),
        (_set("recipes.mini.datasets.train", "coco"), ["'train: coco' names no benchmark"]),
        (_set("recipes.mini.grids", ["componets"]), ["did you mean 'components'"]),
        (
            _set("ablations.0.vary", {"segmenter.training.step": [1]}),
            ["ablations.components.vary", "segmenter.training.step", "did you mean 'steps'"],
        ),
        (
            _set("ablations.0.vary", {"inference.replace_ratio": [0.1, 7]}),
            ["ablations.components.vary", "replace_ratio", "got 7"],
        ),
        (
            _set("ablations.0.fixed", {"segmenter.training.step": 1}),
            ["ablations.components.fixed", "segmenter.training.step", "did you mean 'steps'"],
        ),
        (
            _set("ablations.0.fixed", {"clip_finetune.contextual_shift": False}),
            ["'clip_finetune.contextual_shift' is both fixed and varied"],
        ),
        (_set("ablations.0.benchmarks", ["mini_ade_35"]), ["did you mean 'mini_ade_36'"]),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(document, change, words):
    change(document)
    with pytest.raises(InputError) as caught:
        validate(document)
    message = str(caught.value)
    assert message.startswith("params.yaml: ")
    assert message.count("\n") == 0
    for word in words:
        assert word in message


def test_a_missing_key_is_named(document):
    del document["recipes"]["vitl14"]["clip"]["prompts"]
    with pytest.raises(InputError, match=r"recipes\.vitl14\.clip\.prompts: this key is missing"):
        validate(document)


@pytest.mark.parametrize("text", ["a: [1", "a: 1\na: 2\n", "- 1\n"])
def test_a_broken_file_is_refused(tmp_path, text):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"params\.yaml"):
        read_params(file)


def test_overrides_come_as_text_and_are_typed(document, tmp_path):
    frozen = tmp_path / "frozen.json"
    frozen.write_text(json.dumps(document))
    config = copy.deepcopy(document)
    config["recipe"] = "vitl14"
    config["recipes"]["vitl14"]["segmenter"]["training"].update(steps="7", learning_rate="1e-5")
    config["recipes"]["vitl14"]["inference"]["replace_layers"] = ["1", "3"]
    params = select_params(config, frozen)
    name, recipe = params.recipe, params.recipes[params.recipe]
    assert name == "vitl14"
    assert recipe.segmenter.training.steps == 7
    assert recipe.segmenter.training.learning_rate == 1e-5
    assert recipe.inference.replace_layers == [1, 3]


def test_override_changes_one_key_of_a_copy(document):
    mini = document["recipes"]["mini"]
    changed = override(mini, "inference.clip_weight", 0.25)
    assert Recipe.model_validate(changed).inference.clip_weight == 0.25
    assert mini["inference"]["clip_weight"] == 0.7


def test_a_run_keeps_the_parameters_it_began_with(tmp_path):
    (tmp_path / "params.yaml").write_text("recipe: a\n")
    program = (
        "import pathlib, scan_core.params.reading as r\n"
        "path = pathlib.Path('params.yaml')\n"
        "first = r.snapshot_params(path)\n"
        "path.write_text('recipe: b')\n"
        "assert r.snapshot_params(path) == first\n"
        "print(r.read_params(first)['recipe'])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "a"
