"""Grids: what a cell is trained and tested with differs as its values do, and in nothing else."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from scan_core.errors import InputError
from scan_core.params.grid import cells_of, check_grid, rows_of
from scan_core.params.reading import override, read_params, validate
from scan_core.params.schema.grids import Ablation
from scan_core.params.schema.recipe import Recipe

ROOT = Path(__file__).parents[1]
PARAMS = validate(read_params(ROOT / "params.yaml"))
GRIDS = PARAMS.ablations
PAIRS = [
    (name, recipe)
    for name, grid in GRIDS.items()
    for recipe in PARAMS.recipes
    if grid.recipe in (None, recipe)
]


def grid(vary, **changes) -> Ablation:
    return Ablation.model_validate({"seeds": [0], "vary": vary, **changes})


def _experiments(recipe, one):
    """Values and seed -> on each benchmark what the model is made from and how it is tested."""
    found = {}
    for row in rows_of(recipe, one):
        key = json.dumps([row.cell.seed, dict(row.cell.values)])
        part = row.cell.part("model").model_dump()
        found.setdefault(key, {})[row.benchmark] = (part, row.settings.as_dict(), row.model)
    return found


@pytest.mark.parametrize(("name", "recipe_name"), PAIRS)
def test_cells_differ_as_their_values_do_and_in_nothing_else(name, recipe_name):
    recipe, one = PARAMS.recipes[recipe_name], GRIDS[name]
    check_grid(name, recipe, one)
    for key, on_benchmarks in _experiments(recipe, one).items():
        seed, values = json.loads(key)
        document = recipe.model_dump()
        for path, value in {**one.fixed, **values, "seed": seed}.items():
            document = override(document, path, value)
        expected = Recipe.model_validate(document)
        for benchmark, (part, settings, _) in on_benchmarks.items():
            assert part["clip"] == expected.clip.model_dump()
            assert part["segmenter"] == expected.segmenter.model_dump()
            assert part["clip_finetune"] == expected.clip_finetune.model_dump()
            assert part["defects"] == expected.defects.model_dump()
            assert part["seed"] == seed
            inference = expected.inference
            for setting in ("mask_threshold", "clip_weight", "ensemble", "replace_ratio"):
                wanted = getattr(inference, setting)
                if isinstance(wanted, dict):
                    wanted = wanted.get(benchmark, wanted["default"])
                if setting == "replace_ratio" and not expected.clip_finetune.contextual_shift:
                    wanted = 0
                assert settings[setting] == wanted
            for setting in ("short_side", "longest_side", "crop_expansion", "logit_scale"):
                assert settings[setting] == getattr(inference, setting)
            if expected.clip_finetune.contextual_shift:
                assert settings["replace_layers"] == inference.replace_layers
    experiments = [json.dumps(value) for value in _experiments(recipe, one).values()]
    assert len(set(experiments)) == len(experiments), "no two cells are one experiment"


def test_the_grid_of_layers_shows_six_lists():
    command = [sys.executable, "-m", "workflow_scripts.show_grid", "replace_layers", "--csv"]
    shown = subprocess.run(
        [*command, "--recipe", "vitl14"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    rows = list(csv.DictReader(io.StringIO(shown.stdout)))
    assert len(rows) == 6 * 3 * 7, "layers, seeds, benchmarks"
    assert len({row["replace_layers"] for row in rows}) == 6
    for row in rows:
        assert row["replace_layers"] == row["inference.replace_layers"]
    of_one = [r for r in rows if (r["seed"], r["benchmark"]) == ("0", "ade20k_150")]
    assert len({row["label"] for row in of_one}) == 6
    varied = ("inference.replace_layers", "replace_layers", "label")
    assert len({json.dumps({k: v for k, v in r.items() if k not in varied}) for r in of_one}) == 1


def test_training_and_test_time_keys_mix():
    recipe = PARAMS.recipes["mini"]
    mixed = grid(
        {"clip_finetune.contextual_shift": [False, True], "inference.clip_weight": [0.2, 0.8]},
        fixed={"inference.ensemble": "log"},
    )
    rows = [row for row in rows_of(recipe, mixed) if row.benchmark == "mini_ade_36"]
    assert [(row.settings.clip_weight, row.settings.ensemble) for row in rows] == [
        (0.2, "log"), (0.8, "log"), (0.2, "log"), (0.8, "log")
    ]  # fmt: skip
    assert len({(row.model, row.settings.key) for row in rows}) == 4
    assert len({row.model for row in rows}) == 2


@pytest.mark.parametrize(
    "key", ["short_side", "longest_side", "crop_expansion", "logit_scale", "replace_layers"]
)
def test_keys_under_inference_need_no_training(key):
    recipe = PARAMS.recipes["mini"]
    values = {"replace_layers": [[1], [2]], "longest_side": [200, 300]}.get(key, [100, 120])
    names = [cell.names for cell in cells_of(recipe, grid({f"inference.{key}": values}))]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"inference.clip_weight": [0.3, 0.3]}, "are the same experiment on mini_ade_87"),
        ({"inference.prompts": ["trained", "vild"]}, "are the same experiment"),
        (
            {"datasets.miniworld.test_images": [10, 20]},
            "reaches neither a training nor a test-time",
        ),
        ({"inference.benchmarks": [["mini_ade_36"]]}, "reaches neither"),
        ({"inference.mask_threshold": [0.2, 0.6]}, "below crop_threshold 0.5"),
    ],
)
def test_a_grid_that_compares_nothing_is_refused(vary, message):
    with pytest.raises(InputError, match=message):
        check_grid("mine", PARAMS.recipes["mini"], grid(vary))


def test_folders_of_variants_have_bounded_names_of_their_own():
    recipe = PARAMS.recipes["mini"]
    sigmas = [[float(a), float(b), 3.0] for a in range(1, 4) for b in range(1, 4)]
    long = grid(
        {
            "segmenter.semantic_integration.sigmas": sigmas,
            "segmenter.training.learning_rate": [1e-3, 2e-3],
            "segmenter.augmentation.short_side": [[96, 160], [112, 144]],
            "clip.prompts": ["vild", "imagenet"],
            "segmenter.semantic_integration.clip_layers": [[2, 3, 4], [1, 2, 3]],
        }
    )
    cells = cells_of(recipe, long)
    names = [cell.names["model"] for cell in cells]
    assert len(set(names)) == len(cells) == 9 * 2 * 2 * 2 * 2
    assert max(map(len, names)) <= 120
    assert all(name.startswith("seed=0,") for name in names)
    files = grid({"clip.source": ["file:a b.pt", "file:a_b.pt"]})
    assert len({cell.names["clip"] for cell in cells_of(PARAMS.recipes["vitb16"], files)}) == 2


@pytest.mark.parametrize(("name", "recipe_name"), PAIRS)
def test_the_order_of_keys_names_no_other_variant(name, recipe_name):
    """A grid is also read from JSON with sorted keys, where its runs are recorded in MLflow."""
    recipe, written = PARAMS.recipes[recipe_name], GRIDS[name].model_dump()
    turned = {
        key: dict(reversed(value.items())) if isinstance(value, dict) else value
        for key, value in written.items()
    }
    for other in (json.loads(json.dumps(written, sort_keys=True)), turned):
        again = {str(cell.names) for cell in cells_of(recipe, Ablation.model_validate(other))}
        assert again == {str(cell.names) for cell in cells_of(recipe, GRIDS[name])}


def test_the_recipes_own_cells_are_known_on_each_benchmark():
    def own(recipe: str, name: str) -> dict[str, object]:
        rows = rows_of(PARAMS.recipes[recipe], GRIDS[name], every_seed=False)
        return {row.benchmark: [*row.cell.values.values()] for row in rows if row.own}

    assert set(map(str, own("mini", "components").values())) == {"[True, True]"}
    # Fixed keys, such as fewer steps, do not count: all cells of the grid have them.
    assert own("mini", "mini_low_frequency") == {"mini_ade_36": [[9, 7, 3]]}
    ratios = own("vitl14", "replace_ratio")
    assert (ratios["ade20k_847"], ratios["voc_20"]) == ([0.15], [0.1])
