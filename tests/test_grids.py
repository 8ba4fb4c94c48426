"""Grids: what a cell is trained and tested with differs as its values do, and in nothing else."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scan_core.errors import InputError
from scan_core.params.data_names import benchmark_folder
from scan_core.params.grid import cell_of, cells_of, check_grid, rows_of
from scan_core.params.own_files import known
from scan_core.params.reading import changed, override, read_params, validate
from scan_core.params.schema.grids import Ablation
from scan_core.params.schema.recipe import Recipe

ROOT = Path(__file__).parents[1]
PARAMS = validate(read_params(ROOT / "params.yaml"))
GRIDS = PARAMS.ablations
PAIRS = [
    (name, recipe)
    for name, grid in GRIDS.items()
    for recipe in PARAMS.recipes
    if grid.recipe in (None, recipe) and not PARAMS.recipes[recipe].imported
]


def grid(vary, **changes) -> Ablation:
    return Ablation.model_validate({"seeds": [0], "vary": vary, **changes})


def _experiments(recipe, one):
    """Values and seed -> on each benchmark what the model is made from and how it is tested."""
    found = {}
    parts = {cell.names["model"]: cell.part("model") for cell in cells_of(recipe, one)}
    for row in rows_of(recipe, one):
        key = json.dumps([row["seed"], row["values"]])
        part = parts[row["model"]].model_dump()
        found.setdefault(key, {})[row["benchmark"]] = (part, row["settings"], row["model"])
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
            for block in ("clip", "segmenter", "clip_finetune", "defects"):
                assert part[block] == getattr(expected, block).model_dump()
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


def test_a_reader_that_has_enough_ends_a_table_quietly():
    command = f"{sys.executable} -m workflow_scripts.show_grid replace_ratio --recipe mini | true"
    shown = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert shown.stderr == ""


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
    assert len({row["key"] for row in of_one}) == 6
    varied = ("inference.replace_layers", "replace_layers", "key")
    assert len({json.dumps({k: v for k, v in r.items() if k not in varied}) for r in of_one}) == 1


def test_training_and_test_time_keys_mix():
    recipe = PARAMS.recipes["mini"]
    mixed = grid(
        {"clip_finetune.contextual_shift": [False, True], "inference.clip_weight": [0.2, 0.8]},
        fixed={"inference.ensemble": "log"},
    )
    rows = [row for row in rows_of(recipe, mixed) if row["benchmark"] == "mini_ade_36"]
    used = [row["settings"] for row in rows]
    assert [(one["clip_weight"], one["ensemble"]) for one in used] == [
        (0.2, "log"), (0.8, "log"), (0.2, "log"), (0.8, "log")
    ]  # fmt: skip
    assert len({(row["model"], row["key"]) for row in rows}) == 4
    assert len({row["model"] for row in rows}) == 2


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"inference.clip_weight": [0.3, 0.3]}, "are the same experiment on mini_ade_87"),
        ({"inference.prompts": ["trained", "vild"]}, "are the same experiment"),
        ({"datasets.miniworld.test_images": [10, 20]}, "reaches neither a training nor"),
        ({"inference.benchmarks": [["mini_ade_36"]]}, "reaches neither"),
        ({"inference.mask_threshold": [0.2, 0.6]}, "below crop_threshold 0.5"),
    ],
)
def test_a_grid_that_compares_nothing_is_refused(vary, message):
    with pytest.raises(InputError, match=message):
        check_grid("mine", PARAMS.recipes["mini"], grid(vary))


def test_variants_are_named_by_what_makes_them(tmp_path, monkeypatch):
    recipe = PARAMS.recipes["mini"]
    own = cell_of(recipe).names
    assert re.fullmatch(r"seed=0-[0-9a-f]{8}", own["segmenter"])
    # Another recipe, grid or test-time setting that agrees in a stage shares what it makes.
    other = grid({"inference.clip_weight": [0.2, 0.8]}, fixed={"clip_finetune.epochs": 3})
    for cell in cells_of(recipe, other):
        assert cell.names["pairs"] == own["pairs"]
        assert cell.names["finetuned_clip"] != own["finetuned_clip"]
    # What a stage reads is in its name: data, and the content of files, however they are called.
    fewer = changed(recipe, {"datasets.miniworld.training_images": 1000})
    differ = {stage for stage, name in cell_of(fewer).names.items() if name != own[stage]}
    assert differ == set(own) - {"clip"}
    file = tmp_path / "clip.pt"
    names = []
    for content in ("one", "other"):
        file.write_text(content)
        known.cache_clear()
        monkeypatch.setenv("SCAN_OWN_FILES", "")
        of_file = grid({"clip.source": [f"clip:{file}"]}, fixed={"clip.pretrained": "openai"})
        names.append(cells_of(PARAMS.recipes["vitb16"], of_file)[0].names)
    assert all(names[0][stage] != names[1][stage] for stage in own)


def test_parts_decide_what_cells_share_not_keys():
    """A key that counts only together with what the grid fixes."""
    small = grid({"clip.pretraining.steps": [10, 20]}, fixed={"clip.source": "train"})
    cells = cells_of(PARAMS.recipes["mini"], small)
    assert len({cell.names["clip"] for cell in cells}) == 2
    assert len({cell.names["model"] for cell in cells}) == 2


def test_what_changes_in_data_of_ones_own_names_another_benchmark(tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    for folder in ("images", "labels"):
        (raw / folder).mkdir(parents=True)
        (raw / folder / "one.png").write_bytes(b"1")
    (raw / "images/above").symlink_to(raw / "images")
    (raw / "images/itself").symlink_to("itself")
    document = PARAMS.recipes["mini"].model_dump()
    own = {"format": "folder", "classes": "mini_ade_36", "images": {"val": 1}}
    document["datasets"]["benchmarks"]["own"] = {
        **own, "raw": str(raw), "split_names": {"val": "night"}
    }  # fmt: skip
    recipe = Recipe.model_validate(document)
    names = []
    for change in (
        lambda: None,
        lambda: (raw / "images/one.png").write_bytes(b"replaced"),
        lambda: (raw / "labels/one.png").write_bytes(b"corrected"),
        lambda: (raw / "images/again").symlink_to(raw / "labels"),
        lambda: (raw / "labels/one.png").unlink(),
        lambda: (raw / "night.txt").write_text("one\n"),
        lambda: (raw / "notes.txt").touch(),  # which nothing reads
    ):
        change()
        known.cache_clear()
        monkeypatch.setenv("SCAN_OWN_FILES", "")
        names.append(benchmark_folder(recipe, "own"))
    assert len(set(names)) == 6
    assert names[-1] == names[-2]


def test_the_recipes_own_cells_are_known_on_each_benchmark():
    def own(recipe: str, name: str) -> dict[str, object]:
        rows = rows_of(PARAMS.recipes[recipe], GRIDS[name], every_seed=False)
        return {row["benchmark"]: [*row["values"].values()] for row in rows if row["baseline"]}

    assert set(map(str, own("mini", "components").values())) == {"[True, True]"}
    # Fixed keys, such as fewer steps, do not count: all cells of the grid have them.
    assert own("mini", "mini_low_frequency") == {"mini_ade_36": [[9, 7, 3]]}
    ratios = own("vitl14", "replace_ratio")
    assert (ratios["ade20k_847"], ratios["voc_20"]) == ([0.15], [0.1])
