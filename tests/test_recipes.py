"""params.yaml is read exactly, and what is wrong with it is said in one line."""

import copy
import json
from pathlib import Path

import open_clip
import pytest

from scan_core.errors import InputError
from scan_core.params.clips import pretrained_tags
from scan_core.params.reading import (
    SNAPSHOT_VARIABLE,
    read_params,
    select_params,
    snapshot_params,
    validate,
)

ROOT = Path(__file__).parents[1]


SHIPPED = read_params(ROOT / "params.yaml")
GRID = "ablations.components"


@pytest.fixture
def document():
    return copy.deepcopy(SHIPPED)


def test_the_shipped_file_is_valid_and_holds_the_released_settings(document):
    params = validate(document)
    assert params.recipe == "mini"
    names = "mini mini_parts vitb16 vitl14 vitl14_released vitl14_fused"
    assert " ".join(params.recipes) == names
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
        test = params.recipes[name].inference
        tables = (test.mask_threshold, test.clip_weight, test.replace_ratio)
        for benchmark, expected in settings.items():
            assert tuple(table[benchmark] for table in tables) == expected
        by_log = {benchmark for benchmark, rule in test.ensemble.items() if rule == "log"}
        assert by_log == {"ade20k_847", "context_459"}


def test_numbers_are_yaml_1_2_and_aliases_are_allowed(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("rate: 6e-5\nword: off\na: &layers [1, 2]\nb: *layers\n")
    assert read_params(file) == {"rate": 6e-5, "word": "off", "a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("ablation", {}, "ablation: unknown key .did you mean 'ablations'"),
        ("recipe", "vitl41", "recipe: 'vitl41' is unknown .did you mean 'vitl14'"),
        ("seed", "zero", "recipes.mini.seed: .*integer.*'zero'"),
        ("inference.clip_weight", 1.5, "clip_weight: .*less than or equal to 1, got 1.5"),
        ("inference.mask_threshold", {"mini_ade_36": 0.5}, "mask_threshold' needs a 'default'"),
        ("clip.architecture.patch", 8, "clip.architecture.patch.*did you mean 'patch_size'"),
        ("datasets.source", "dowload", "datasets.source.*generate . download . local:<...>"),
        ("datasets.train", "coco", "'train: coco' names no benchmark"),
        ("datasets.root", "d{x}", "datasets.root: 'd{x}': Snakemake takes braces for wildcards"),
        ("datasets.source", "local:{x}", "datasets.source: .*braces for wildcards"),
        ("predictions", {"theirs": "p{}"}, "predictions.theirs: .*braces for wildcards"),
        ("grids", ["componets"], "did you mean 'components'"),
        (f"{GRID}.vary", {"segmenter.training.step": [1]}, f"{GRID}.vary.*step.*mean 'steps'"),
        (f"{GRID}.vary", {"inference.replace_ratio": [7]}, f"{GRID}.vary.*replace_ratio.*got 7"),
        (f"{GRID}.fixed", {"segmenter.training.step": 1}, f"{GRID}.fixed.*step.*mean 'steps'"),
        (f"{GRID}.fixed", {"clip_finetune.contextual_shift": False}, "is both fixed and varied"),
        (f"{GRID}.benchmarks", ["mini_ade_35"], "did you mean 'mini_ade_36'"),
        ("seed", 2**32, "recipes.mini.seed: .*less than 4294967296"),
        ("ablations.repeated.seeds", [0, 2**32], "ablations.repeated.seeds.1"),
        ("segmenter.augmentation.short_side", [160, 96], "160, 96.' must be in order"),
        ("inference.short_side", 999, "greater than 'longest_side'"),
        ("clip_finetune.batch_size", 10**12, "batch_size.*10000000"),
        ("clip_finetune.learning_rate", float("inf"), "finite number"),
        ("segmenter.mask_decoder.heads", 7, "'width: 64' is no multiple of 'heads: 7'"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(document, path, value, says):
    *blocks, last = path.split(".")
    here = document if path.startswith(("recipe", "ablation")) else document["recipes"]["mini"]
    for block in blocks:
        here = here[block]
    here[last] = value
    with pytest.raises(InputError, match=rf"^params\.yaml: (?s:.*){says}"):
        validate(document)


def test_a_missing_key_is_named(document):
    del document["recipes"]["vitb16"]["clip"]["prompts"]
    with pytest.raises(InputError) as caught:
        validate(document)
    assert str(caught.value) == "params.yaml: recipes.vitb16.clip.prompts: this key is missing", (
        "not once more for vitl14, which extends it"
    )


@pytest.mark.parametrize("name", ["", "a/b", "..", "a;touch x", "$(id)", "a b", "-n", "é", "a\n"])
@pytest.mark.parametrize("table", ["recipes", "ablations", "searches", "benchmarks"])
def test_names_that_a_shell_or_a_folder_would_take_for_something_else_are_refused(
    document, table, name
):
    if table == "benchmarks":
        benchmarks = document["recipes"]["mini"]["datasets"]["benchmarks"]
        benchmarks[name] = benchmarks["mini_ade_36"]
    else:
        document[table][name] = next(iter(document[table].values()))
    with pytest.raises(InputError, match="is no name: 1 to 64 of the letters"):
        validate(document)


def test_names_of_the_alphabet_are_allowed(document):
    document["recipes"]["My-2nd_recipe"] = {"extends": "mini", "grids": ["2024-11"]}
    document["ablations"]["2024-11"] = {"vary": {}}
    document["recipe"] = "My-2nd_recipe"
    assert validate(document).recipes["My-2nd_recipe"].grids == ["2024-11"]


@pytest.mark.parametrize("key", ["clip_finetune.replace_layers", "inference.replace_layers"])
def test_layers_of_the_shift_that_the_clip_does_not_have(document, key):
    block, _, name = key.partition(".")
    document["recipes"]["mini"].setdefault(block, {})[name] = [2, 25]
    with pytest.raises(InputError, match=f"'{key}' names layer 25, but this CLIP's"):
        validate(document)


# Recipes that extend others


def test_a_recipe_says_only_what_differs(document):
    inference = {"mask_threshold": {"voc_20b": None, "ade20k_150": 0.1}, "clip_weight": 0.5}
    inference |= {"benchmarks": ["ade20k_150"], "replace_ratio": 0.1, "ensemble": "log"}
    document["recipes"]["mine"] = {
        "extends": "vitl14",
        "datasets": {"benchmarks": {"voc_20b": None}},
        "clip": copy.deepcopy(document["recipes"]["mini"]["clip"]),
        "inference": inference,
    }
    document["recipes"]["mine"]["clip"]["architecture"]["vision_layers"] = 24
    recipes = validate(document).recipes
    mine, vitl14, vitb16 = recipes["mine"], recipes["vitl14"], recipes["vitb16"]
    assert mine.segmenter == vitl14.segmenter, "inherited over two steps"
    assert vitl14.segmenter.training == vitb16.segmenter.training
    assert vitl14.segmenter.semantic_integration.sigmas == [9, 7, 3]
    assert vitl14.segmenter.semantic_integration.clip_layers == [12, 18, 24], "lists are replaced"
    assert mine.inference.mask_threshold["ade20k_150"] == 0.1, "tables are merged"
    assert mine.inference.mask_threshold["ade20k_847"] == 0.3
    assert "voc_20b" not in mine.datasets.benchmarks, "null takes out"
    assert mine.inference.clip_weight == 0.5, "a value replaces a table"
    assert mine.clip.architecture.embed_dim == 128, "a table replaces a value"
    assert "extends" not in mine.model_dump(), "what is recorded is complete"


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ({"vitl14": "vitb61"}, "vitl14.extends: 'vitb61' is unknown (did you mean 'vitb16'"),
        ({"vitb16": "vitb16"}, "recipes.vitb16.extends: vitb16 -> vitb16 is a circle"),
        ({"vitb16": "vitl14"}, "vitb16 -> vitl14 -> vitb16 is a circle"),
        ({"mini": "vitl14", "vitb16": "mini"}, "is a circle"),
        ({"vitl14": ["mini"]}, "recipes.vitl14.extends: Input should be a valid string"),
    ],
)
def test_a_parent_that_is_none_is_refused(document, parents, message):
    for name, parent in parents.items():
        document["recipes"][name]["extends"] = parent
    with pytest.raises(InputError) as caught:
        validate(document)
    assert message in str(caught.value)
    assert sum("extends" in line for line in str(caught.value).splitlines()) == 1


def test_an_override_reaches_the_recipes_that_inherit_it(document, tmp_path):
    frozen = tmp_path / "frozen.json"
    frozen.write_text(json.dumps(document))
    config = copy.deepcopy(document)
    config["recipes"]["vitb16"]["segmenter"]["training"]["steps"] = "7"
    config["recipes"]["vitl14"]["inference"]["crop_threshold"] = "0.5"  # not in its own block
    config["recipes"]["vitl14"]["clip_finetune"] = {"pairs": {"images": "null"}, "epochs": "3"}
    config["ablations"]["repeated"]["seeds"] = ["5"]
    params = select_params(config, frozen)
    assert params.recipes["vitl14"].segmenter.training.steps == 7
    assert params.recipes["vitl14"].inference.crop_threshold == 0.5
    assert params.recipes["vitb16"].inference.crop_threshold == "mask_threshold"
    assert params.recipes["vitl14"].clip_finetune.pairs.images is None
    assert params.recipes["vitl14"].clip_finetune.epochs == 3
    assert params.ablations["repeated"].seeds == [5]


def test_a_fixed_value_may_be_what_makes_the_varied_ones_possible(document):
    document["ablations"]["two_layers"] = {
        "recipe": "mini",
        "fixed": {"segmenter.semantic_integration.clip_layers": [2, 4]},
        "vary": {"segmenter.semantic_integration.sigmas": [[9, 3], [3, 9]]},
    }
    validate(document)


_LAUGHS = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "line 1, column 4"),
        ("a: 1\na: 2\n", "found duplicate key"),
        ("- 1\n", "expected a mapping"),
        ("recipes: {2024-11-30: {}}", "keys must be str.*put quotes around"),
        ("recipe: 2024-11-30", "date is not JSON serializable.*put quotes around"),
        ("recipe: !!binary aGVsbG8=", "bytes is not JSON serializable"),
        ("recipes: &r {mini: *r}", "Circular reference"),
        ("a0: &a0 [x, x, x]\n" + _LAUGHS, "aliases expand to over"),
        ("a0: &a0 {x: 1}\n" + _LAUGHS.replace("[", "{<<: [").replace("]", "]}"), "'<<' is no key"),
        ('recipes: {mini: {datasets: {root: "\\ud83d"}}}', "surrogates not allowed"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, text, words):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=rf"(?s)params\.yaml.*{words}"):
        read_params(file)


# CLIPs


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ("ViT-L/14", "no model 'ViT-L/14'; near it are ViT-L-14"),
        ("ViT-B-16-SigLIP", "attention pooling"),
        ("MobileCLIP-B", "of timm"),
        ("RN50", "ResNet"),
        ("coca_ViT-B-32", "CoCa"),
        ("nllb-clip-base", "facebook/nllb-200-distilled-600M of Hugging Face"),
        ("ViT-H-14-worldwide", "tokenizer is that of facebook/xlm-v-base"),
        ("ViT-B-32-256", "no weights 'datacomp_xl_s13b_b90k' for ViT-B-32-256; there are datacomp"),
    ],
)
def test_a_clip_that_cannot_be_used_is_refused_with_the_reason(document, architecture, words):
    document["recipes"]["vitb16"]["clip"]["architecture"] = architecture
    document["recipes"]["vitl14"]["clip"]["architecture"] = "ViT-L-14"
    with pytest.raises(InputError, match=rf"^params.yaml: recipes.vitb16.clip: .*{words}"):
        validate(document)


def test_the_tags_are_those_of_open_clip():
    for name, tags in pretrained_tags().items():
        assert tags == open_clip.list_pretrained_tags_by_model(name)


def test_a_clip_from_a_file_says_what_its_weights_want(document):
    clip = document["recipes"]["vitl14"]["clip"]
    clip["source"] = "clip:ViT-L-14.pt"
    with pytest.raises(InputError, match=r"vitl14.clip: 'pretrained' must name open_clip's tag"):
        validate(document)
    for pretrained, tag in (("openai", "openai"), ("none", None)):
        clip["pretrained"] = pretrained
        assert validate(document).recipes["vitl14"].clip.tag == tag
    clip["source"] = "open_clip:datacomp_xl_s13b_b90k"
    assert validate(document).recipes["vitl14"].clip.tag == "datacomp_xl_s13b_b90k"


def test_a_run_keeps_the_parameters_it_began_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(SNAPSHOT_VARIABLE, "")
    file = Path("params.yaml")
    file.write_text("recipe: a\n")
    first = snapshot_params(file)
    file.write_text("recipe: b\n")
    assert snapshot_params(file) == first
    assert read_params(first) == {"recipe": "a"}
