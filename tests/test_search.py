"""Search of test-time settings: true numbers, one look at each image, stopped and continued."""

import csv
import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from parity_pack import image
from PIL import Image
from small_models import small_scan

from scan_core.command.stopping import Interrupted
from scan_core.datasets.index import BenchmarkIndex, Sample, Split
from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.evaluation.evaluator import Shard, evaluate
from scan_core.evaluation.merging import numbers_of
from scan_core.params.grid import changed
from scan_core.params.reading import override, read_params, validate
from scan_core.params.resolution import resolve_settings
from scan_core.params.schema.grids import Search
from scan_core.params.schema.recipe import Recipe
from scan_core.params.search_space import searched_benchmarks
from scan_core.search.benchmarks import SearchedBenchmark, SearchedBenchmarks, Workplace
from scan_core.search.report import best_of_each, best_settings, trials_table, write_report
from scan_core.search.study import run_study
from scan_core.vocabulary.classes import load_class_list

ROOT = Path(__file__).parents[1]
SPACE = {
    "inference.mask_threshold": [0.6, 0.9],
    "inference.clip_weight": {"low": 0.0, "high": 1.0, "step": 0.1},
    "inference.replace_ratio": [0.0, 0.5],
    "inference.ensemble": ["geometric", "log"],
}


def search(**changes) -> Search:
    values = {
        **{"recipe": None, "vary": SPACE, "benchmarks": None, "images": None},
        **{"metric": "miou", "sampler": "tpe", "trials": 20, "seed": 0},
    }
    return Search.model_validate({**values, **changes})


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    document = read_params(ROOT / "params.yaml")["recipes"]["mini"]
    document["clip"]["prompts"] = "single"
    document["inference"] |= {
        **{"mask_threshold": 0.9, "crop_threshold": "mask_threshold", "clip_weight": 0.0},
        **{"replace_ratio": 0.1, "replace_layers": [1], "short_side": 64, "logit_scale": 100},
    }
    return Recipe.model_validate(document)


@pytest.fixture(scope="module")
def scan(recipe):
    return small_scan(resolve_settings(recipe))


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory) -> dict[str, SearchedBenchmark]:
    """Two images with random labels, scored by 20 classes and by 21."""
    folder = tmp_path_factory.mktemp("benchmarks")
    samples = []
    for number, (height, width) in enumerate([(64, 90), (70, 64)]):
        Image.fromarray(image(number, height, width).transpose(1, 2, 0)).save(
            folder / f"{number}.png"
        )
        label = np.random.default_rng(number).integers(0, 20, (height, width), dtype=np.uint8)
        Image.fromarray(label).save(folder / f"{number}.label.png")
        samples.append(Sample(str(number), f"{number}.png", f"{number}.label.png", width, height))
    splits = {"train": Split(".", ".", tuple(samples), {})}
    found = {}
    for name in ("voc_20", "voc_20b"):
        classes = load_class_list(name)
        index = BenchmarkIndex(name, "pascal_voc", name, classes.names, 255, splits)
        index.save(folder / f"{name}.json")
        found[name] = SearchedBenchmark(folder / f"{name}.json", name)
    return found


def test_a_trial_has_the_number_of_an_evaluation(scan, recipe, benchmarks, monkeypatch):
    looks = []
    encode = scan.encode
    monkeypatch.setattr(scan, "encode", lambda *given: (looks.append(1), encode(*given))[1])
    encoded = SearchedBenchmarks(scan, search(), recipe, benchmarks, 1e9)
    trials = [
        {},
        {"inference.clip_weight": 0.5},
        {"inference.clip_weight": 0.9, "inference.ensemble": "log"},
        {
            "inference.mask_threshold": 0.6,
            "inference.replace_ratio": 0.5,
            "inference.clip_weight": 1,
        },
    ]
    found = [*encoded.scores(trials[:3]), *encoded.scores(trials[3:])]
    assert len(looks) == 2 * len(benchmarks), "once for each image and benchmark"
    settings = {
        str(number): resolve_settings(changed(recipe, values), "voc_20")
        for number, values in enumerate(trials)
    }
    for name, benchmark in benchmarks.items():
        images, classes = BenchmarkImages(benchmark.index, "train"), load_class_list(name)
        matrices, _ = evaluate(scan, images, classes, settings, Shard())
        for matrix, scores in zip(matrices.values(), found, strict=True):
            assert scores[name] == numbers_of(matrix.counts(), classes)["miou"]
    assert len({scores["voc_20"] for scores in found}) == 4, "settings that change something"


@pytest.fixture
def model(scan, tmp_path):
    scan.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_what_the_networks_saw_is_kept_for_the_next_start(
    scan, recipe, benchmarks, model, monkeypatch
):
    looks = []
    encode = scan.encode
    monkeypatch.setattr(scan, "encode", lambda *given: (looks.append(1), encode(*given))[1])
    trials = [{}, {"inference.clip_weight": 0.5}, {"inference.mask_threshold": 0.6}]

    def scores(asked=None, code="a"):
        place = Workplace(model.parent / "work", model, code)
        looks.clear()
        return SearchedBenchmarks(scan, asked or search(), recipe, benchmarks, 1e9, place).scores(
            trials
        )

    first = scores()
    assert len(looks) == 4
    assert scores() == first
    assert looks == []
    damaged = next((model.parent / "work/features/voc_20").rglob("1.safetensors"))
    damaged.write_bytes(damaged.read_bytes()[:-8])
    next(damaged.parent.glob("unfinished.npz")).unlink()
    assert scores() == first
    assert len(looks) == 1, "what is damaged is made again"
    more = {**SPACE, "inference.clip_weight": [0.0, 0.5]}
    scores(search(vary=more, trials=40))
    assert looks == [], "other trials of what was encoded"
    scores(code="b")
    assert len(looks) == 4
    assert len(list((model.parent / "work/features").rglob("*.safetensors"))) == 4, "of one code"


def test_a_search_that_is_stopped_goes_on_with_the_next_image(
    scan, recipe, benchmarks, model, monkeypatch
):
    trials = [{}, {"inference.clip_weight": 0.5}]
    whole = SearchedBenchmarks(scan, search(), recipe, benchmarks, 1e9).scores(trials)
    signals, scored = [], []
    score = scan.score

    def counted(*given):
        scored.append(1)
        if len(scored) == 1:  # in the middle of the first image
            signals.append(10)
        return score(*given)

    def begun(asked):
        place = Workplace(model.parent / "work", model, "a", asked)
        return SearchedBenchmarks(scan, search(), recipe, benchmarks, 1e9, place)

    monkeypatch.setattr(scan, "score", counted)
    with pytest.raises(Interrupted, match="138"):
        begun(signals).scores(trials)
    again = begun([])
    assert again.scores(trials) == whole
    assert len(scored) == 2 * 2 * len(trials), "of two benchmarks two images, each once"
    again.finish()
    assert not list(model.parent.rglob("*.npz"))


def test_what_does_not_fit_into_memory_is_refused(scan, recipe, benchmarks):
    with pytest.raises(InputError, match=r"the 2 images of voc_20 take about .* --memory-gb"):
        SearchedBenchmarks(scan, search(), recipe, benchmarks, 1e5)


def hill(trials):
    """A hill at the weight 0.3 and the log ensemble, 0.1 higher on one benchmark."""
    heights = [
        1 - abs(t["inference.clip_weight"] - 0.3) - 0.3 * (t["inference.ensemble"] != "log")
        for t in trials
    ]
    return [{"a": 0.5 * height, "b": 0.5 * height + 0.1} for height in heights]


def test_the_top_is_found_and_can_be_pasted(tmp_path):
    asked = search(trials=60)
    trials = run_study(asked, hill, tmp_path / "journal.log", "x")
    own = {"a": 0.2, "b": 0.3}
    write_report(asked, trials, own, "mini", tmp_path)
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert max(float(row["mean"]) for row in rows) == pytest.approx(0.55)
    assert (tmp_path / "search.png").stat().st_size > 10_000
    pasted = read_params(tmp_path / "best.yaml")["inference"]
    assert (pasted["clip_weight"], pasted["ensemble"]) == (0.3, "log")
    assert "55.00 % with these settings" in best_settings(asked, trials, own, "mini")
    assert "25.00 % with the recipe's own" in best_settings(asked, trials, own, "mini")
    document = read_params(ROOT / "params.yaml")
    document["recipes"]["mini"]["inference"].update(pasted)
    recipe = validate(document).recipes["mini"]
    assert resolve_settings(recipe).clip_weight == 0.3
    assert "    b: 0.3" in best_of_each(asked, trials, own, "mini")


KILLED = """
import os, signal, sys
from pathlib import Path
from scan_core.params.resolution import resolve_settings
from scan_core.params.schema.grids import Search
from scan_core.params.schema.recipe import Recipe
from scan_core.search.study import run_study

passes = []
def evaluate(trials):
    passes.append(1)
    if len(passes) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return hill(trials)

run_study(Search.model_validate_json(sys.argv[2]), evaluate, Path(sys.argv[1]), "x")
"""


def test_what_a_killed_process_leaves_of_the_journal_stops_nobody(tmp_path):
    journal = tmp_path / "journal.log"
    whole = run_study(search(trials=20), hill, tmp_path / "whole.log", "x")
    run_study(search(trials=10), hill, journal, "x")
    with journal.open("a") as file:
        file.write('{"op_code":4,"worker')
    (tmp_path / "journal.log.lock").symlink_to("journal.log")
    assert run_study(search(trials=20), hill, journal, "x") == whole
    journal.write_bytes(b"\0" * 100 + b"\n")
    with pytest.raises(InputError, match=r"journal\.log is damaged .*; delete it"):
        run_study(search(trials=20), hill, journal, "x")


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_killed_search_ends_as_it_would_have(tmp_path, sampler):
    asked = search(sampler=sampler, trials=35)
    journal = tmp_path / "killed.log"
    script = inspect.getsource(hill) + KILLED
    command = [sys.executable, "-c", script, str(journal), asked.model_dump_json()]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    evaluated = []

    def counted(trials):
        evaluated.extend(trials)
        return hill(trials)

    continued = run_study(asked, counted, journal, "x")
    assert len(evaluated) == 25, "the first ten were told before"
    assert continued == run_study(asked, hill, tmp_path / "whole.log", "x")


def test_more_trials_continue_and_other_data_begins_again(tmp_path):
    journal = tmp_path / "journal.log"
    few = run_study(search(trials=10), hill, journal, "x")
    more = run_study(search(trials=20), hill, journal, "x")
    assert more[:10] == few
    assert len(more) == 20
    evaluated = []

    def counted(trials):
        evaluated.extend(trials)
        return hill(trials)

    run_study(search(trials=10), counted, journal, "other data")
    assert len(evaluated) == 10
    assert trials_table(search(), few).count("\n") == 11


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vary": {"inference.replace_ratio": {"low": 0.0, "high": 1.0, "step": 0.1}}},
            "inference.replace_ratio: CLIP's crops depend on it",
        ),
        (
            {"vary": {"inference.crop_threshold": [0.3, 0.7], "inference.mask_threshold": [0.5]}},
            "0.5 is below the crop threshold 0.7",
        ),
        ({"benchmarks": ["voc_20"]}, "'voc_20' has not the `train` split"),
        ({}, "none of the recipe's benchmarks has the `train` split"),
    ],
)
def test_what_cannot_be_searched_is_refused(changes, message):
    recipe = validate(read_params(ROOT / "params.yaml")).recipes["vitb16"]
    document = override(recipe.model_dump(), "inference.benchmarks", ["ade20k_150", "voc_20"])
    with pytest.raises(InputError, match=message):
        searched_benchmarks("mine", search(**changes), type(recipe).model_validate(document))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vary": {"inference.crop_size": [32]}}, "'inference.crop_size' is not allowed"),
        ({"vary": {"inference.clip_weight": [2]}}, "searches.settings.vary"),
        ({"benchmarks": ["mini_vok_10"]}, "did you mean 'mini_voc_10'"),
        ({"sampler": "tpee"}, "'tpe' or 'random'"),
    ],
)
def test_a_wrong_search_is_named(change, message):
    document = json.loads(json.dumps(read_params(ROOT / "params.yaml")))
    document["searches"]["settings"].update(change)
    with pytest.raises(InputError, match=message):
        validate(document)
