"""Search of test-time settings: true numbers, one look at each image, killed and continued."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from parity_pack import image
from raw_data import written
from small_models import small_scan

from scan_core.errors import InputError
from scan_core.evaluation.evaluator import evaluate
from scan_core.evaluation.metrics import metrics_of
from scan_core.params.reading import changed, override, read_params, validate
from scan_core.params.schema.grids import Search
from scan_core.params.schema.recipe import Recipe
from scan_core.params.search_space import searched_benchmarks
from scan_core.params.settings import resolve_settings
from scan_core.search.features import encode_benchmarks, identity
from scan_core.search.study import run_study, write_report
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
def benchmarks(tmp_path_factory):
    """Two images with random labels, scored by 20 classes and by 21."""
    sizes = {"0": (64, 90), "1": (70, 64)}
    photos = {stem: image(int(stem), *size).transpose(1, 2, 0) for stem, size in sizes.items()}
    labels = {
        stem: np.random.default_rng(int(stem)).integers(0, 20, size, dtype=np.uint8)
        for stem, size in sizes.items()
    }
    return {
        name: (written(tmp_path_factory.mktemp(name), labels, classes, photos, "train"), classes)
        for name, classes in ((name, load_class_list(name)) for name in ("voc_20", "voc_20b"))
    }


def test_a_trial_has_the_number_of_an_evaluation(scan, recipe, benchmarks, monkeypatch):
    looks = []
    encode = scan.encode
    monkeypatch.setattr(scan, "encode", lambda *given: (looks.append(1), encode(*given))[1])
    score = encode_benchmarks(scan, search(), recipe, benchmarks, 1e9)
    low = {"inference.mask_threshold": 0.6, "inference.replace_ratio": 0.5}
    log = {"inference.clip_weight": 0.9, "inference.ensemble": "log"}
    trials = [{}, {"inference.clip_weight": 0.5}, log, {**low, "inference.clip_weight": 1}]
    found = [*score(trials[:3]), *score(trials[3:])]
    assert len(looks) == 2 * len(benchmarks), "once for each image and benchmark"
    settings = {
        str(number): resolve_settings(changed(recipe, values), "voc_20")
        for number, values in enumerate(trials)
    }
    for name, (images, classes) in benchmarks.items():
        counts = evaluate(scan, images, classes, settings, range(2))
        for of_trial, scores in zip(counts.values(), found, strict=True):
            assert scores[name] == metrics_of(of_trial, classes)["miou"]
    assert len({scores["voc_20"] for scores in found}) == 4, "settings that change something"


def test_what_does_not_fit_into_memory_is_refused(scan, recipe, benchmarks):
    with pytest.raises(InputError, match=r"the 2 images of voc_20 take about .* --memory-gb"):
        encode_benchmarks(scan, search(), recipe, benchmarks, 1e5)


def hill(trials):
    """A hill at the weight 0.3 and the log ensemble, 0.1 higher on one benchmark."""
    found = []
    for trial in trials:
        below = abs(trial["inference.clip_weight"] - 0.3)
        height = 1 - below - 0.3 * (trial["inference.ensemble"] != "log")
        found.append({"a": 0.5 * height, "b": 0.5 * height + 0.1})
    return found


def test_the_top_is_found_and_can_be_pasted(tmp_path):
    asked = search(trials=60)
    study = run_study(asked, hill, tmp_path / "optuna.db", "x")
    write_report(asked, study, {"a": 0.2, "b": 0.3}, "mini", tmp_path)
    rows = pd.read_csv(tmp_path / "trials.csv")
    assert list(rows) == ["trial", *SPACE, "mean", "a", "b"]
    assert len(rows) == 60
    assert rows["mean"].max() == pytest.approx(0.55)
    assert (tmp_path / "search.png").stat().st_size > 10_000
    best = (tmp_path / "best.yaml").read_text()
    assert "55.00 % with these settings" in best
    assert "25.00 % with the recipe's own" in best
    assert "    b: 0.3" in (tmp_path / "best_per_benchmark.yaml").read_text()
    pasted = read_params(tmp_path / "best.yaml")["inference"]
    assert (pasted["clip_weight"], pasted["ensemble"]) == (0.3, "log")
    document = read_params(ROOT / "params.yaml")
    document["recipes"]["mini"]["inference"].update(pasted)
    recipe = validate(document).recipes["mini"]
    assert resolve_settings(recipe).clip_weight == 0.3


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_killed_search_goes_on_and_more_trials_continue_it(tmp_path, sampler):
    asked = search(sampler=sampler, trials=20)
    whole = _trials(run_study(asked, hill, tmp_path / "whole.db", "x"))

    evaluated = []

    def counted(trials, most=100):
        if len(evaluated) >= most:
            raise KeyboardInterrupt
        evaluated.extend(trials)
        return hill(trials)

    with pytest.raises(KeyboardInterrupt):
        run_study(asked, partial(counted, most=10), tmp_path / "optuna.db", "x")
    continued = _trials(run_study(asked, counted, tmp_path / "optuna.db", "x"))
    assert (len(continued), len(evaluated)) == (20, 20), "ten were told before"
    assert continued[:10] == whole[:10]
    more = run_study(search(sampler=sampler, trials=22), counted, tmp_path / "whole.db", "x")
    assert _trials(more)[:20] == whole
    run_study(search(sampler=sampler, trials=2), counted, tmp_path / "whole.db", "other data")
    assert len(evaluated) == 20 + 2 + 2


def _trials(study):
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    return [(trial.params, trial.value) for trial in done]


def test_other_data_is_another_search(scan, recipe, benchmarks, tmp_path):
    scan.save(tmp_path / "model.safetensors")

    def name(asked=None, found=benchmarks, code="a"):
        return identity(asked or search(), recipe, found, tmp_path / "model.safetensors", code)

    known = name()
    assert name(search(trials=1)) == known, "more trials continue the search"
    assert name(search(metric="macc")) != known
    assert name(found={"voc_20": benchmarks["voc_20"]}) != known
    assert name(code="b") != known
    (tmp_path / "model.safetensors").write_bytes(b"a model of the same name")
    assert name() != known


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vary": {"inference.replace_ratio": SPACE["inference.clip_weight"]}},
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
    document = read_params(ROOT / "params.yaml")
    document["searches"]["settings"].update(change)
    with pytest.raises(InputError, match=message):
        validate(document)
