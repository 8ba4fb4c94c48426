"""The whole pipeline through real Snakemake, on a reduced miniature world."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from project import BENCHMARKS, LAYERS, STORE, Project, reduced

from scan_core.datasets.loading import BenchmarkImages
from scan_core.evaluation.counts import load_counts
from scan_core.inference.scan import Scan
from scan_core.params.grid import rows_of
from scan_core.params.provenance import source_hash
from scan_core.storage.weights import load_tensors
from scan_core.vocabulary.classes import load_class_list


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("pipeline"))
    project.edit(reduced)
    project.make("all")
    return project


def test_everything_is_there(made):
    results = made.folder / "results/mini"
    for benchmark in BENCHMARKS:
        metrics = json.loads((made.evaluation(benchmark) / "metrics.json").read_text())
        assert metrics["images"] == 8
        assert set(metrics["results"]) == {"combined", "in_vocabulary", "clip_only", "chance"}
        assert 0 <= metrics["results"]["combined"]["miou"] <= 1
        assert (results / f"qualitative/{benchmark}.png").stat().st_size > 10_000
    assert (results / "tables/main.md").is_file()
    assert list((results / "figures").glob("*.png"))
    assert len(pd.read_csv(results / "ablations/ensemble_weight.csv")) == 8 * len(BENCHMARKS)
    pairs = (made.stage("pairs") / "pairs.jsonl").read_text().splitlines()
    assert {"image", "noun", "score", "counts"} <= json.loads(pairs[0]).keys()
    assert not (made.stage("segmenter") / "work").exists(), "checkpoints are for stopped runs"
    page = (results / "report.html").read_text()
    assert len(page) < 8_000_000
    assert "Both classifiers combined reach" in page
    assert re.search(r"Written on \d{4}-\d\d-\d\d, .*The jobs took 0:", page)
    made.make("--report", "rules.html", "--", "all")
    assert "tables/main.html" in (made.folder / "rules.html").read_text()


def test_a_setting_in_a_grid_has_the_number_that_it_has_alone(made):
    """The recipe's own weight is among the grid's values."""
    grid = pd.read_csv(made.folder / "results/mini/ablations/ensemble_weight.csv")
    grid = grid[grid["inference.clip_weight"] == made.recipe.inference.clip_weight]
    for benchmark, miou in grid.set_index("benchmark")["miou"].items():
        alone = json.loads((made.evaluation(benchmark) / "metrics.json").read_text())
        assert miou == pytest.approx(alone["results"]["combined"]["miou"], abs=1e-6)
    assert sorted(grid["benchmark"]) == sorted(BENCHMARKS)


def test_every_list_of_layers_is_another_prediction(made):
    """The grid's cells are evaluated with their own layers, and differ by them."""
    rows = rows_of(made.recipe, made.params.ablations["layers"])
    rows = [row for row in rows if row["benchmark"] == "mini_ade_36"]
    folder = made.evaluation("mini_ade_36")
    evaluated = json.loads((folder / "evaluation.json").read_text())
    assert [evaluated[row["key"]]["settings"]["replace_layers"] for row in rows] == LAYERS
    with np.load(folder / "shards/0.npz") as file:
        counts = [
            (file[f"{row['key']}.indices"].tolist(), file[f"{row['key']}.data"].tolist())
            for row in rows
        ]
    assert all(one != other for n, one in enumerate(counts) for other in counts[:n])


def test_the_release_predicts_what_was_evaluated(made, tmp_path):
    """Pixel by pixel: in Python, on the command line, in MLflow's model, and on the page."""
    from scan_core.apps.page_server import Question, Viewer, classes_of
    from scan_core.tracking.pyfunc import _load_pyfunc

    release = made.folder / "results/mini/release/model.safetensors"
    names = load_class_list("mini_ade_36").names
    images = BenchmarkImages(made.benchmark("mini_ade_36") / "index.json", "val")
    file = tmp_path / f"{images.stem(0)}.png"
    Image.fromarray(images.image(0)).save(file)
    kept = made.evaluation("mini_ade_36") / "predictions/0/combined"
    evaluated = np.asarray(Image.open(kept / f"{images.stem(0)}.png"))
    scan = Scan.from_checkpoint(release)
    assert np.array_equal(scan.segment(file, names).class_map, evaluated)
    (row,) = _load_pyfunc(str(release)).predict([{"image": str(file), "class_names": names}])
    assert np.array_equal(row["class_map"], evaluated)
    command = [sys.executable, "-m", "scan_core.apps.segment", str(file)]
    command += ["--classes", "@mini_ade_36", "--out", str(tmp_path / "out")]
    subprocess.run(command, cwd=made.folder, check=True, capture_output=True)
    assert np.array_equal(np.asarray(Image.open(next((tmp_path / "out").glob("*_labels.png")))),
                          evaluated)  # fmt: skip
    viewer, settings = Viewer(scan), scan.settings
    asked = Question(
        names=", ".join(names),
        clip_weight=settings.clip_weight,
        mask_threshold=settings.mask_threshold,
    )
    shown, _ = viewer.answer(viewer.look(file.read_bytes()), asked, classes_of(asked))
    assert np.array_equal(shown.class_map, evaluated)


def test_the_notebook_of_the_documentation_runs(made):
    cells = json.loads((made.folder / "docs/first_steps.ipynb").read_text())["cells"]
    program = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=made.folder / "docs", capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert "mini_ade_36, 8 images, %" in ran.stdout


def test_shards_add_up_to_every_pixel(made):
    for benchmark in BENCHMARKS:
        folder = made.evaluation(benchmark)
        counts, _ = load_counts(folder / "counts.npz")
        labels = made.benchmark(benchmark) / "labels/val"
        pixels = sum(np.asarray(Image.open(path)).size for path in labels.iterdir())
        assert counts["combined"].sum() == pixels


def test_the_time_of_every_stage_is_told(made):
    timings = made.folder / "results/mini/timings"
    told = subprocess.run(
        [*(sys.executable, "-m", "workflow_scripts.stage_times", "--timings", timings)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    rows = {line.split()[0]: line.split()[1:] for line in told.splitlines()}
    assert rows["train_segmenter"][0] == "1"
    assert rows["evaluate"][0] == str(len(BENCHMARKS))
    assert float(rows["train_segmenter"][2]) > 1, "processor seconds"


def test_a_second_call_does_nothing(made):
    assert made.jobs("all") == {}


def test_a_plain_copy_trains_and_evaluates_nothing_again(made, tmp_path):
    """What depends on folders of figures, seconds of work, is all that is made again."""
    copy = Project(tmp_path / "copy")
    subprocess.run(["cp", "-r", f"{made.folder}/.", copy.folder], check=True)
    assert copy.jobs("all").keys() <= {"report_page", "mlflow_sync", "all"}
    pairs = copy.stage("pairs") / "pairs.jsonl"
    pairs.write_text("".join(pairs.read_text().splitlines(keepends=True)[:-1]))
    assert "finetune_clip" in copy.jobs("all"), "of other content"


def test_the_runs_are_recorded_where_the_page_finds_them(made):
    record = json.loads((made.folder / "results/mini/mlflow.json").read_text())
    assert record["store"] == "sqlite:///mlflow.db"
    runs = {f"{kind}/{made.stage(stage).name}" for kind, stage in (
        ("evaluation", "model"), ("segmenter", "segmenter"), ("finetuned_clip", "finetuned_clip")
    )}  # fmt: skip
    assert {*runs, "grid/ensemble_weight"} < set(record["runs"])


TRAINING = {"clip_weights", "train_segmenter", "mine_shard", "finetune_clip"}


@pytest.mark.parametrize(
    ("path", "value", "again", "kept"),
    [
        (
            "inference.clip_weight",
            0.4,
            {
                *("evaluate_shard", "evaluate", "ablate"),
                *("tables", "figures", "qualitative", "release", "mlflow_sync"),
            },
            TRAINING | {"fuse_weights"},
        ),
        (
            "segmenter.training.learning_rate",
            0.002,
            {"train_segmenter", "mine_shard", "finetune_clip", "fuse_weights"},
            {"clip_weights", "convert_benchmark", "generate_miniworld"},
        ),
        (
            "clip_finetune.epochs",
            2,
            {"finetune_clip", "fuse_weights"},
            {"clip_weights", "train_segmenter", "mine_shard"},
        ),
        (  # images that only the searches see, but which are a part of the benchmark
            "datasets.miniworld.tuning_images",
            5,
            {"generate_miniworld", "convert_benchmark", "verify_dataset", "evaluate_shard"},
            TRAINING | {"fuse_weights"},
        ),
    ],
)
@pytest.mark.parametrize("forgotten", [False, True], ids=["", "forgotten"])
def test_a_key_redoes_what_depends_on_it(made, path, value, again, kept, forgotten):
    """What Snakemake remembers of its runs may be gone, as in a copy of the results."""

    def change(params):
        *blocks, last = path.split(".")
        here = params["recipes"]["mini"]
        for block in blocks:
            here = here[block]
        here[last] = value

    with made.forgetful() if forgotten else nullcontext(), made.edited(change):
        jobs = made.jobs("all")
    assert made.jobs("all") == {}, "what was right is right again"
    assert again <= jobs.keys()
    assert not kept & jobs.keys()


@pytest.mark.parametrize(
    ("key", "change"),
    [("parents", lambda of: of | {"sea": []}), ("things", lambda of: [not of[0], *of[1:]])],
)
@pytest.mark.parametrize("forgotten", [False, True], ids=["", "forgotten"])
def test_another_relation_of_classes_is_evaluated_and_nothing_else(made, forgotten, key, change):
    path = made.folder / "scan_core/vocabulary/data/mini_ade_36.json"
    text = path.read_text()
    classes = json.loads(text)
    classes[key] = change(classes[key])
    path.write_text(json.dumps(classes))
    with made.forgetful() if forgotten else nullcontext():
        jobs = made.jobs("all")
    path.write_text(text)
    assert jobs["evaluate_shard"] == jobs["evaluate"] == 1
    assert jobs["tables"] == 1
    made_from_images = {"generate_miniworld", "convert_benchmark", "verify_dataset", "fuse_weights"}
    assert not (TRAINING | made_from_images) & jobs.keys()


def test_without_memory_the_leaves_are_made_again(made):
    """Whatever code they were made by; nothing is computed again."""
    memory, away = made.folder / ".snakemake", made.folder / "memory.away"
    memory.rename(away)
    jobs = made.jobs("all")
    shutil.rmtree(memory)
    away.rename(memory)
    leaves = {"ablate", "tables", "figures", "qualitative", "release", "report_page"}
    assert leaves <= jobs.keys()
    assert jobs.keys() - leaves <= {"dataset_manifest", "mlflow_sync", "all"}


def test_a_recipe_that_agrees_in_the_stages_trains_nothing(made):
    inference = {"benchmarks": ["mini_context_24"], "clip_weight": 0.3}
    other = {"extends": "mini", "grids": [], "inference": inference}
    with made.edited(lambda params: params["recipes"].update(other=other)):
        jobs = made.jobs("--config", "recipe=other", "--", "all")
    assert jobs["evaluate_shard"] == 1
    assert not (TRAINING | {"fuse_weights"}) & jobs.keys()


def test_training_grids_are_planned_with_what_they_share(made):
    jobs = made.jobs("ablations")
    assert jobs["train_segmenter"] == 1, "the one without semantic integration"
    assert jobs["finetune_clip"] == 1, "the one without contextual shift"
    assert jobs["fuse_weights"] == 3
    assert "clip_weights" not in jobs


def test_the_release_is_complete_and_says_how_it_was_made(made, tmp_path):
    release = made.folder / "results/mini/release"
    sums = [line.split("  ") for line in (release / "SHA256SUMS").read_text().splitlines()]
    for digest, name in sums:
        assert hashlib.sha256((release / name).read_bytes()).hexdigest() == digest
    assert {name for _, name in sums} | {"SHA256SUMS"} == {p.name for p in release.glob("[!.]*")}
    card = (release / "README.md").read_text()
    header = load_tensors(release / "model.safetensors")[1]
    assert sums[0][0] in card
    assert f"torch {header['versions']['torch']}" in card
    stages = ("clip_weights", "train_segmenter", "mine_shard", "finetune_clip", "fuse_weights")
    now = {stage: source_hash(f"workflow_scripts.{stage}") for stage in stages}
    assert header["code"] == now
    metrics = json.loads((made.folder / "results/mini/metrics/mini_ade_36.json").read_text())
    assert f"{metrics['miou']:.2f}" in card
    weights = made.stage("model") / "model.safetensors"
    assert weights.stat().st_nlink == 1, "what happens to the release does not happen to the model"
    picture = Image.fromarray(np.zeros((40, 60, 3), np.uint8))
    result = Scan.from_checkpoint(release / "model.safetensors").segment(picture, ["sky", "sea"])
    assert result.class_map.shape == (40, 60)
    # The recipe of the release, in the place of params.yaml, makes the same.
    with made.edited(lambda _: None):
        shutil.copy(release / "params.yaml", made.folder / "params.yaml")
        jobs = made.jobs("all")
    assert jobs == {}


def test_a_grid_has_a_figure_and_a_table(made):
    stem = made.folder / "results/mini/ablations/ensemble_weight"
    made.make(f"results/mini/ablations/{stem.name}.png")
    assert stem.with_suffix(".png").stat().st_size > 10_000
    assert "| 0.45 " in stem.with_suffix(".md").read_text()


@pytest.mark.slow
def test_settings_are_searched_on_the_splits_that_are_for_it(made):
    made.make("searches")
    folder = made.folder / "results/mini/search/settings"
    trials = pd.read_csv(folder / "trials.csv")
    assert len(trials) == 12
    best = trials["mean"].max()
    assert f"# {100 * best:.2f} % with these settings" in (folder / "best.yaml").read_text()
    assert made.jobs("searches") == {}


def test_a_deleted_result_is_made_again_from_what_is_there(made):
    path = made.folder / "results/mini/tables"
    kept = path.with_name("kept")
    shutil.move(path, kept)
    assert "train_segmenter" not in made.jobs("all")
    shutil.move(kept, path)


@pytest.mark.long
def test_every_grid_is_made_with_all_its_seeds(made):
    made.make("ablations")
    results = made.folder / "results/mini"
    assert len(pd.read_csv(results / "ablations/every_seed/components.csv")) == 4 * len(BENCHMARKS)
    assert "semantic_integration" in (results / "ablations/every_seed/components.md").read_text()
    assert (results / "ablations/every_seed/components.png").stat().st_size > 10_000
    runs = set(json.loads((results / "mlflow_ablations.json").read_text())["runs"])
    assert {"every_seed/components", "every_seed/ensemble_weight"} < runs
    # Cells that a training grid has in common with the recipe are not trained again.
    assert len([run for run in runs if run.startswith("segmenter/")]) == 2
    assert made.jobs("ablations") == {}


def _given_predictions(made, folder):
    """A copy in which the recipe's own label maps are given as those of another model."""
    copy = Project(folder)
    shutil.copytree(made.folder, folder, ignore=STORE, symlinks=True, dirs_exist_ok=True)
    kept = made.evaluation("mini_ade_36") / "predictions/0/combined"
    shutil.copytree(kept, folder / "given/mini_ade_36")
    copy.edit(lambda params: params["recipes"]["mini"].update(predictions={"theirs": "given"}))
    return copy


@pytest.mark.slow
def test_given_predictions_stand_beside_ours(made, tmp_path):
    copy = _given_predictions(made, tmp_path)
    jobs = copy.jobs("all")
    assert jobs["score_predictions"] == jobs["tables"] == 1
    assert not {"evaluate", "evaluate_shard", "train_segmenter"} & jobs.keys()
    copy.make("all")
    results = tmp_path / "results/mini"
    ours = json.loads((copy.evaluation("mini_ade_36") / "metrics.json").read_text())
    (scores,) = (results / "predictions/theirs").iterdir()
    theirs = json.loads((scores / "metrics.json").read_text())
    assert theirs["results"] == {"combined": ours["results"]["combined"]}
    main = pd.read_csv(results / "tables/main.csv", dtype=str)
    main = (main[main["rule"] == "miou"] if "rule" in main else main).set_index("classified by")
    given = main.loc["theirs (given predictions)"]
    assert given["mini_ade_36"] == main.loc["combined", "mini_ade_36"]
    assert given["mini_voc_10b"] == "–"
    assert "theirs (given predictions)" in (results / "report.html").read_text()
    assert "predictions/theirs" in json.loads((results / "mlflow.json").read_text())["runs"]
    assert copy.jobs("all") == {}

    # A file that changes is scored again, and is seen in the table.
    changed = next((tmp_path / "given/mini_ade_36").glob("*.png"))
    size = Image.open(changed).size
    Image.new("L", size, 3).save(changed)
    assert copy.jobs("all")["score_predictions"] == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"theirs": "nowhere"}, "predictions.theirs: the folder nowhere is missing"),
        ({"theirs": "docs"}, "predictions.theirs: docs has no predictions for any benchmark"),
        ({"mini": "docs"}, "the tables call our own results 'mini'"),
    ],
)
def test_predictions_that_cannot_be_given_are_told_before_anything_runs(made, given, says):
    with made.edited(lambda params: params["recipes"]["mini"].update(predictions=given)):
        ran = made.snakemake("-n", "--profile", "local", "all")
    assert ran.returncode != 0
    assert says in " ".join(ran.stdout.split())
    assert "Traceback" not in ran.stdout


@pytest.mark.long
def test_a_mixed_grid_has_the_numbers_of_plain_runs(made, tmp_path):
    """Training and test-time keys in one grid: four rows, each that of a recipe with its values."""
    copy = Project(tmp_path)
    shutil.copytree(made.folder, tmp_path, ignore=STORE, symlinks=True, dirs_exist_ok=True)
    vary = {"clip_finetune.contextual_shift": [False, True], "inference.clip_weight": [0.9, 1.0]}

    def add(params):
        params["ablations"]["mixed"] = {"vary": vary, "benchmarks": BENCHMARKS[:1], "seeds": [0]}

    copy.edit(add)
    copy.make("results/mini/ablations/mixed.csv")
    rows = pd.read_csv(tmp_path / "results/mini/ablations/mixed.csv").to_dict("records")
    assert len({row["miou"] for row in rows}) == 4
    for row in rows:

        def put_in(params, row=row):
            recipe = params["recipes"]["mini"]
            shift = bool(row["clip_finetune.contextual_shift"])
            recipe["clip_finetune"]["contextual_shift"] = shift
            recipe["inference"]["clip_weight"] = float(row["inference.clip_weight"])

        copy.edit(put_in)
        copy.make("tables")
        metrics = json.loads((copy.evaluation("mini_ade_36") / "metrics.json").read_text())
        assert row["miou"] == pytest.approx(metrics["results"]["combined"]["miou"], abs=1e-6)
