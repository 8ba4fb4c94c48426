"""Runs in MLflow: a real store, a real server and its page, and servers that fail."""

import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tracked_results import (
    BENCHMARKS,
    ROOT,
    curve,
    folders,
    mini_recipe,
    numbers,
    weight_grid,
    write_results,
)

from scan_core.params.grid import cells_of
from scan_core.params.recipe_part import clip_part, write_part
from scan_core.params.schema.recipe import Recipe
from scan_core.reporting.results import load_curves
from scan_core.tracking import place
from scan_core.tracking.runs import runs_of, training_run

GRID = weight_grid(0.2, 0.6)
NAMES = {cell.seed: cell.names for cell in cells_of(mini_recipe(), GRID)}
PART = clip_part(mini_recipe())
CELLS = 4  # two weights, two seeds
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


class Project:
    """A folder with results, and its runs in MLflow."""

    def __init__(self, folder: Path, store: str | None = None):
        self.folder, self.store = folder, store
        self.results = folder / "results/mini"

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "SCAN_"))}
        chosen = {"MLFLOW_TRACKING_URI": self.store} if self.store else {}
        return {**kept, "PYTHONPATH": str(ROOT), **chosen}

    def sync(self, recipe: str = "mini", **environment: str):
        """`mlflow_sync`, as the rule calls it; what it prints, and its record."""
        output = self.results / "mlflow.json"
        recipe_file, grids_file = self.folder / "recipe.json", self.folder / "grids.json"
        recipe_file.write_text(mini_recipe().model_dump_json())
        grids_file.write_text(json.dumps({"weight": GRID.model_dump()}))
        folders_file = self.folder / "folders.json"
        folders_file.write_text(json.dumps(folders(Path("results/mini"))))
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "workflow_scripts.mlflow_sync", "--report"),
                *("--name", recipe, "--recipe", str(recipe_file), "--grids", str(grids_file)),
                *("--results", "results/mini", "--output", str(output), "--every-seed"),
                *("--failures", str(place.failures(output)), "--folders", str(folders_file)),
            ],
            cwd=self.folder, env={**self.environment, **environment},
            capture_output=True, text=True,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return ran.stdout, json.loads(output.read_text())

    def runs(self, recipe: str = "mini") -> dict[str, list]:
        """Key -> the runs that are listed."""
        from mlflow import MlflowClient

        client = MlflowClient(self.store or f"sqlite:///{self.folder}/mlflow.db")
        experiment = client.get_experiment_by_name(f"scan/{recipe}")
        found: dict[str, list] = {}
        for run in client.search_runs([experiment.experiment_id]):
            found.setdefault(run.data.tags["scan.key"], []).append(run)
        return found

    def points(self, run, name: str) -> dict[int, float]:
        from mlflow import MlflowClient

        client = MlflowClient(self.store or f"sqlite:///{self.folder}/mlflow.db")
        history = client.get_metric_history(run.info.run_id, name)
        assert len({point.step for point in history}) == len(history), "a step twice"
        return {point.step: point.value for point in history}


def expected(name: str) -> dict[int, float]:
    rows = [json.loads(line) for line in curve().splitlines()]
    return {row["step"]: row[name] for row in rows if name in row}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    from scan_core.inference.scan import Scan

    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    Scan.from_recipe(mini_recipe()).save(path)
    return path


@pytest.fixture(scope="module")
def project(tmp_path_factory, checkpoint) -> Project:
    """Synchronised once, with the store that a newcomer has."""
    made = Project(tmp_path_factory.mktemp("project"))
    write_results(made.results, GRID, checkpoint)
    said, record = made.sync()
    assert said == ""
    assert record["synced"]
    return made


@pytest.fixture(scope="module")
def server(project):
    """`mlflow ui` in the project's root, without any option that says what to show."""
    port = _free_port()
    process = subprocess.Popen(
        [*(sys.executable, "-m", "mlflow", "ui"), "--workers", "1", "--port", str(port)],
        cwd=project.folder, start_new_session=True,
        env={**project.environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=(project.folder / "ui.log").open("w"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        until = time.monotonic() + 180
        while not _answers(port):
            assert process.poll() is None, (project.folder / "ui.log").read_text()
            assert time.monotonic() < until, "mlflow ui does not start"
            time.sleep(0.3)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_every_result_is_a_run(project):
    runs = {key: found for key, (found,) in project.runs().items()}
    made = {"clip": "clip", "segmenter": "segmenter", "clip_finetune": "finetuned_clip"}
    trainings = [f"{s}/{NAMES[n][made[s]]}" for s in made for n in (0, 1)]
    assert set(trainings) < runs.keys()
    assert len(runs) == len(trainings) + 2 + 1 + CELLS
    assert {run.info.status for run in runs.values()} == {"FINISHED"}

    parent = runs["every_seed/weight"]
    cell = runs["every_seed/weight/[0.6]/1"]
    assert cell.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert cell.info.run_name == "clip_weight=0.6 seed=1"
    assert cell.data.params["inference.clip_weight"] == "0.6"
    steps = mini_recipe().segmenter.training.steps
    assert cell.data.params["segmenter.training.steps"] == str(steps)
    assert cell.data.metrics["mini_ade_36/miou"] == pytest.approx(0.27)
    assert cell.data.metrics["mini_voc_10b/sg_iou"] == numbers(0.27)["sg_iou"]

    headline = runs[f"evaluation/{NAMES[0]['model']}"]
    assert headline.data.metrics["mini_ade_36/miou"] == pytest.approx(0.3)
    assert headline.data.metrics["mini_ade_36/clip_only/miou"] == pytest.approx(0.25)
    tags = headline.data.tags
    assert tags["dataset_manifest"] == "0123456789ab"
    assert (tags["recipe"], tags["variant"], tags["seed"]) == ("mini", NAMES[0]["model"], "0")
    if (ROOT / ".git").exists():
        assert len(tags["git_commit"]) == 40

    segmenter = runs[f"segmenter/{NAMES[0]['segmenter']}"]
    for name in ("loss", "learning_rate", "validation_miou"):
        assert project.points(segmenter, name) == expected(name)
    assert segmenter.info.end_time - segmenter.info.start_time == 90_500
    assert segmenter.data.metrics["system/job/memory_mib"] == 1599.02


def test_tables_figures_and_pictures_are_with_the_headline(project):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    (headline,) = project.runs()[f"evaluation/{NAMES[0]['model']}"]
    for folder in ("per_class", "pictures", "figures", "tables"):
        listed = client.list_artifacts(headline.info.run_id, folder)
        assert listed, folder
    kept = project.folder / f"mlruns/mini/{headline.info.run_id}/artifacts"
    picture = project.results / f"qualitative/{BENCHMARKS[0]}.png"
    assert (kept / f"pictures/{BENCHMARKS[0]}.png").read_bytes() == picture.read_bytes()
    assert json.loads((kept / "recipe.json").read_text()) == mini_recipe().model_dump()


def test_runs_name_their_data_and_metrics_their_model(project):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{project.folder}/mlflow.db")
    runs = {key: found for key, (found,) in project.runs().items()}
    headline, cell = runs[f"evaluation/{NAMES[0]['model']}"], runs["every_seed/weight/[0.6]/1"]
    client = mlflow.MlflowClient()
    headline = client.get_run(headline.info.run_id)  # a search leaves out the models
    for run in (headline, cell):
        data = {one.dataset.name: one for one in run.inputs.dataset_inputs}
        assert set(data) == set(BENCHMARKS)
        assert {one.dataset.digest for one in data.values()} == {"0123456789ab"}
        tags = {tag.key: tag.value for tag in data["mini_ade_36"].tags}
        assert tags == {"mlflow.data.context": "evaluation", "split": "val"}
    (training,) = runs[f"segmenter/{NAMES[0]['segmenter']}"].inputs.dataset_inputs
    tags = {tag.key: tag.value for tag in training.tags}
    assert (training.dataset.name, tags["split"]) == ("mini_coco_24", "train")

    experiment = headline.info.experiment_id
    found = mlflow.search_logged_models(
        experiment_ids=[experiment],
        filter_string="metrics.`mini_ade_36/miou` > 0.29",
        datasets=[{"dataset_name": "mini_ade_36"}],
        output_format="list",
    )
    (model,) = found
    assert model.source_run_id == runs[f"model/{NAMES[0]['model']}"].info.run_id
    values = {metric.key: metric.value for metric in model.metrics}
    assert values["mini_ade_36/clip_only/miou"] == pytest.approx(0.25)
    assert not mlflow.search_logged_models(
        experiment_ids=[experiment],
        filter_string="metrics.`mini_ade_36/miou` > 0.31",
        output_format="list",
    )
    assert [one.model_id for one in headline.inputs.model_inputs] == [model.model_id]
    version = client.get_model_version_by_alias("scan-mini", "current")
    assert version.source == f"models:/{model.model_id}"


def test_a_copied_project_has_a_store_of_its_own(project, tmp_path):
    """And a moved one finds its files: MLflow itself keeps absolute paths."""
    import mlflow

    copy = Project(tmp_path / "a copy")
    shutil.copytree(project.folder, copy.folder, symlinks=True)
    original = {str(path) for path in (project.folder / "mlruns").rglob("*")}
    metrics = Path(folders(copy.results)["evaluations"]["mini_ade_36"], "metrics.json")
    metrics.write_text(metrics.read_text().replace("0.3,", "0.3333,"))
    assert copy.sync()[1]["synced"]
    (headline,) = copy.runs()[f"evaluation/{NAMES[0]['model']}"]
    assert headline.data.metrics["mini_ade_36/miou"] == pytest.approx(0.3333)
    assert original == {str(path) for path in (project.folder / "mlruns").rglob("*")}
    mlflow.set_tracking_uri(f"sqlite:///{copy.folder}/mlflow.db")
    client = mlflow.MlflowClient()
    assert client.list_artifacts(headline.info.run_id, "tables")
    inside = (copy.folder / "mlruns").as_uri()
    for (run,) in copy.runs().values():
        assert run.info.artifact_uri.startswith(inside)
    version = client.get_model_version_by_alias("scan-mini", "current")
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    assert logged.artifact_location.startswith(inside)
    model = mlflow.pyfunc.load_model("models:/scan-mini@current")
    picture = np.zeros((40, 60, 3), np.uint8)
    (result,) = model.predict([{"image": picture.tolist(), "class_names": ["sky", "sea"]}])
    assert result["class_map"].shape == (40, 60)


def test_a_second_sync_adds_nothing(project):
    def everything():
        files = (project.folder / "mlruns").rglob("*")
        found = {str(path): path.stat().st_mtime_ns for path in files}
        dumped = subprocess.run(
            [sys.executable, "-c", _DUMP, str(project.folder / "mlflow.db")],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        return found, dumped

    before = everything()
    project.sync()
    assert everything() == before


_DUMP = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).iterdump(), sep='\\n')"


def test_a_changed_result_takes_the_place_of_the_old_one(tmp_path, monkeypatch):
    """Without the model and its report, in this process: quick."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    from scan_core.tracking.sync import sync

    made = Project(tmp_path)

    def synced(grid):
        sync(
            "mini",
            runs_of(
                mini_recipe(), {"weight": grid}, made.results, folders(made.results), False, True
            ),
        )
        return {key: found for key, (found,) in made.runs().items()}

    write_results(made.results, GRID, None)
    before = synced(GRID)
    table = made.results / "ablations/every_seed/weight.csv"
    table.write_text(table.read_text().replace("0.260000", "0.555500"))
    after = synced(GRID)
    assert before.keys() == after.keys()
    cell = "every_seed/weight/[0.6]/0"
    assert after[cell].data.metrics["mini_ade_36/miou"] == 0.5555
    assert after[cell].data.tags["mlflow.parentRunId"] == after["every_seed/weight"].info.run_id
    same = [k for k in before if before[k].info.run_id == after[k].info.run_id]
    assert cell not in same
    assert {f"clip/{NAMES[0]['clip']}", "every_seed/weight/[0.2]/1"} < set(same)

    shutil.rmtree(made.results / "eval")
    write_results(made.results, weight_grid(0.2), None)
    left = [key for key in synced(weight_grid(0.2)) if key.startswith("every_seed/weight/")]
    assert len(left) == 2


def test_a_server_that_is_down_is_one_warning_and_a_later_sync(project, server, tmp_path):
    from mlflow import MlflowClient

    shutil.copytree(project.folder / "results", tmp_path / "results", symlinks=True)
    (tmp_path / "results/mini/mlflow.json").unlink()
    other = Project(tmp_path, f"http://127.0.0.1:{_free_port()}")
    said, record = other.sync("remote")
    assert len(said.splitlines()) == 1
    assert said.startswith("warning: the runs are not recorded")
    assert (record["synced"], record["failures"]) == (False, 1)
    assert other.sync("remote", SCAN_TRACKING="off")[1]["reason"] == "SCAN_TRACKING is off"
    other.store = f"http://127.0.0.1:{server}"
    said, record = other.sync("remote")
    assert (said, record["synced"], record["failures"]) == ("", True, 1)
    runs = {key: found for key, (found,) in other.runs("remote").items()}
    assert runs.keys() == project.runs().keys()
    assert runs[f"model/{NAMES[0]['model']}"].outputs.model_outputs
    headline = runs[f"evaluation/{NAMES[0]['model']}"]
    assert headline.data.tags["workspace"].endswith(f":{tmp_path}")
    assert not (tmp_path / "mlruns").exists(), "files are to be at the server"
    assert len(MlflowClient(other.store).list_artifacts(headline.info.run_id, "pictures")) == 2


def test_a_lost_store_is_filled_again(tmp_path):
    record = tmp_path / "mlflow.json"
    assert place.failures(record) == 0
    known = {"store": f"sqlite:///{tmp_path}/mlflow.db", "synced": True, "failures": 3}
    record.write_text(json.dumps(known))
    assert place.failures(record) == 4
    (tmp_path / "mlflow.db").touch()
    assert place.failures(record) == 3


@pytest.mark.parametrize("remote", [False, True], ids=["file", "server"])
def test_eight_processes_at_once_lose_nothing(tmp_path, server, monkeypatch, remote):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server}")
    if not remote:
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
    Path("metrics.jsonl").write_text(curve())
    # Not copies of this process: it has threads, whose locks a copy may find held for ever.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "scan_core.tracking.live"])
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    processes = [
        context.Process(target=_follow, args=(tmp_path, uri, f"seed={n}"), daemon=True)
        for n in range(8)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 8
    made = Project(tmp_path, os.environ.get("MLFLOW_TRACKING_URI"))
    runs = made.runs("eight")
    assert len(runs) == 8
    for (run,) in runs.values():
        for name in ("loss", "learning_rate", "validation_miou"):
            assert made.points(run, name) == expected(name)


def _follow(folder: Path, uri: str | None, variant: str) -> None:
    os.chdir(folder)
    if uri is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = uri
    from scan_core.tracking.live import follow

    ended = threading.Event()
    ended.set()
    run = training_run("clip", variant, PART)
    follow("eight", run, Path("metrics.jsonl"), 0, ended)


class Gate:
    """Stands before a server: lets through, hangs, or is gone."""

    def __init__(self, port: int):
        self.target, self.mode = port, "open"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                inside, _ = self.listener.accept()
            except OSError:
                return
            self.sockets.append(inside)
            if self.mode == "open":
                outside = socket.create_connection(("127.0.0.1", self.target))
                self.sockets.append(outside)
                for pair in ((inside, outside), (outside, inside)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if self.mode == "open":
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        self.mode = "closed"
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for one in self.sockets:
            one.close()


# A training without a network: half of its record, a pause, the rest; and how long it was held up.
_TRAINING = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from scan_core.command.following import followed

    part, name, lines, work = *sys.argv[1:], sys.stdin.readlines(), Path("work")
    work.mkdir()
    start = time.monotonic()
    with followed(name, Path(part), work):
        begin = time.monotonic()
        for half in (lines[:15], lines[15:]):
            with (work / "metrics.jsonl").open("a") as file:
                file.writelines(half)
            while not Path("go_on").exists():
                time.sleep(0.1)
        end = time.monotonic()
    print(begin - start + time.monotonic() - end)
""")


@pytest.mark.parametrize("fault", ["none", "down", "hangs", "dies"])
def test_a_server_that_fails_holds_no_training_up(server, tmp_path, monkeypatch, fault):
    """And a sync completes the record afterwards, in the run that the training began."""
    record = tmp_path / "results/clip/seed=0/metrics.jsonl"
    record.parent.mkdir(parents=True)
    record.write_text(curve())
    gate = Gate(server)
    if fault == "down":
        gate.close()
    elif fault == "hangs":
        gate.mode = "hang"
    direct = Project(tmp_path, f"http://127.0.0.1:{server}")
    recipe = f"mini_{fault}"
    training = subprocess.Popen(
        [sys.executable, "-c", _TRAINING, write_part(PART, tmp_path), f"{recipe}/clip/seed=0"],
        cwd=tmp_path, env=Project(tmp_path, f"http://127.0.0.1:{gate.port}").environment,
        text=True, stdin=record.open(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    until = time.monotonic() + 90
    while fault in ("none", "dies") and not _has_points(direct, recipe):
        assert training.poll() is None, "ended before anything was recorded"
        assert time.monotonic() < until, "nothing is recorded"
        time.sleep(0.2)
    if fault == "dies":
        gate.close()
    (tmp_path / "go_on").touch()
    said, warned = training.communicate()
    assert training.returncode == 0, warned
    assert float(said) < 10
    assert ("mlflow_sync" in warned) == (fault != "none"), warned
    begun = direct.runs(recipe)["clip/seed=0"] if fault in ("none", "dies") else []
    if fault == "none":
        assert direct.points(begun[0], "loss") == expected("loss")
        assert begun[0].info.status == "FINISHED"
    elif fault == "dies":
        assert direct.points(begun[0], "loss").keys() < expected("loss").keys()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", direct.store)
    from scan_core.tracking.sync import sync

    whole = replace(
        training_run("clip", "seed=0", PART),
        curves={k: v.dropna().to_dict() for k, v in load_curves(record).items()},
    )
    for _ in range(2):
        sync(recipe, [whole])
        (run,) = direct.runs(recipe)["clip/seed=0"]
        for name in ("loss", "learning_rate", "validation_miou"):
            assert direct.points(run, name) == expected(name)
        assert [run.info.run_id] == [one.info.run_id for one in begun or [run]]
        assert run.info.status == "FINISHED"


def _has_points(project: Project, recipe: str) -> bool:
    from mlflow import MlflowClient

    if MlflowClient(project.store).get_experiment_by_name(f"scan/{recipe}") is None:
        return False
    return any("loss" in run.data.metrics for (run,) in project.runs(recipe).values())


def test_a_followed_training_has_the_same_result_to_the_bit(server, tmp_path):
    """The real script, with and without."""
    document = mini_recipe().model_dump()
    document["clip"]["source"] = "train"
    document["clip"]["pretraining"].update(
        images=24, cutouts=8, steps=12, cutout_steps=4, batch_size=8, warmup_steps=1
    )
    part = write_part(clip_part(Recipe.model_validate(document)), tmp_path / "parts")
    made = Project(tmp_path, f"http://127.0.0.1:{server}")
    scripts = {}
    for when in ("off", "live"):
        folder = tmp_path / when
        scripts[when] = subprocess.Popen(
            [
                *(sys.executable, "-m", "workflow_scripts.clip_weights", "--recipe-part", part),
                *("--output", folder / "clip.safetensors", "--metrics", folder / "metrics.jsonl"),
                *("--work", folder / "work", "--run", f"bits/clip/{when}"),
            ],
            cwd=tmp_path, env={**made.environment, "SCAN_TRACKING": when},
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    for when, script in scripts.items():
        _, said = script.communicate()
        assert script.returncode == 0, said
        assert ("recorded while it runs" in said) == (when == "live")
    for file in ("clip.safetensors", "metrics.jsonl"):
        assert (tmp_path / "off" / file).read_bytes() == (tmp_path / "live" / file).read_bytes()
    assert list(made.runs("bits")) == ["clip/live"]


def test_the_model_is_loaded_by_mlflow_alone_and_segments(project, tmp_path):
    (run,) = project.runs()[f"model/{NAMES[0]['model']}"]
    script = textwrap.dedent(f"""
        import mlflow, numpy, pandas
        mlflow.set_tracking_uri("sqlite:///{project.folder}/mlflow.db")
        model = mlflow.pyfunc.load_model("runs:/{run.info.run_id}/scan")
        image = numpy.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=numpy.uint8)
        rows = pandas.DataFrame({{"image": [image], "class_names": [["sky", "red ball"]]}})
        (result,) = model.predict(rows)
        assert result["class_map"].shape == (60, 80), result["class_map"].shape
        assert set(result["areas"]) == {{"sky", "red ball"}}
        assert abs(sum(result["areas"].values()) - 1) < 1e-9
        import scan_core
        print(scan_core.__file__)
    """)
    environment = {k: v for k, v in project.environment.items() if k != "PYTHONPATH"}
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert not ran.stdout.strip().startswith(str(ROOT)), "its code is to be in the model"
    copies = list((project.folder / "mlruns").rglob("*.safetensors"))
    assert len(copies) == 1


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")
def test_the_page_lists_the_runs_of_an_ablation_with_their_metrics(server):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=2400,1000"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        page = f"http://127.0.0.1:{server}/#/experiments/1/runs?viewStateShareKey=every_seed_weight"
        browser.get(page)
        wait = WebDriverWait(browser, 90)
        wait.until(lambda b: "clip_weight=0.6 seed=1" in b.find_element(By.TAG_NAME, "body").text)
        text = browser.find_element(By.TAG_NAME, "body").text
    finally:
        browser.quit()
    for weight in (0.2, 0.6):
        for seed in (0, 1):
            assert f"clip_weight={weight} seed={seed}" in text
            assert f"{0.2 + 0.1 * weight + 0.01 * seed:.2f}" in text
    assert "inference.clip_weight" in text
    assert "mini_ade_36/miou" in text
    assert f"{CELLS} matching runs" in text


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _answers(port: int) -> bool:
    import requests

    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=2).ok
    except requests.RequestException:
        return False
