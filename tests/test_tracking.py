"""Runs in MLflow: a real store, a real server and its page, and servers that fail."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from filelock import FileLock
from project import ROOT
from tracked_results import BENCHMARKS, STAGES, curve, numbers, points, settings, write_results

from scan_core.params.reading import read_params
from scan_core.params.recipe_part import clip_part, write_part
from scan_core.params.schema.recipe import Recipe
from scan_core.tracking import store

VARIANT = "seed=0-0a1b2c3d"
CURVES = ("loss", "learning_rate", "validation_miou")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


class Workspace:
    """A folder with results, and its runs in MLflow."""

    def __init__(self, folder: Path, uri: str | None = None):
        self.folder, self.uri = folder, uri

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "SCAN_"))}
        chosen = {"MLFLOW_TRACKING_URI": self.uri} if self.uri else {}
        return {**kept, "PYTHONPATH": str(ROOT), **chosen}

    def sync(self, fails: bool = False, **environment: str) -> str:
        """`mlflow_sync`, as the rule calls it: its log."""
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "workflow_scripts.mlflow_sync"),
                *("--results", "runs.json", "--output", "results/mini/mlflow.json"),
            ],
            cwd=self.folder, env={**self.environment, **environment},
            capture_output=True, text=True,
        )  # fmt: skip
        assert ran.returncode == fails, ran.stderr
        return ran.stderr

    @property
    def client(self):
        from mlflow import MlflowClient

        return MlflowClient(self.uri or f"sqlite:///{self.folder}/mlflow.db")

    def runs(self, recipe: str = "mini") -> dict:
        """Key -> the run, each there once."""
        experiment = self.client.get_experiment_by_name(f"scan/{recipe}")
        found = self.client.search_runs([experiment.experiment_id])
        keys = [run.data.tags["scan.key"] for run in found]
        assert len(set(keys)) == len(keys)
        return dict(zip(keys, found, strict=True))

    def points(self, run, name: str) -> dict[int, float]:
        history = self.client.get_metric_history(run.info.run_id, name)
        assert len({point.step for point in history}) == len(history), "a step twice"
        return {point.step: point.value for point in history}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    from scan_core.inference.scan import Scan

    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    document = read_params(ROOT / "params.yaml")["recipes"]["mini"]
    Scan.from_recipe(Recipe.model_validate(document)).save(path)
    return path


@pytest.fixture(scope="module")
def project(tmp_path_factory, checkpoint) -> Workspace:
    """Synchronised once, with the store that a newcomer has."""
    made = Workspace(tmp_path_factory.mktemp("project"))
    write_results(made.folder, (0.2, 0.6), checkpoint)
    made.sync()
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
    runs = project.runs()
    trainings = {f"{stage}/seed={n}-0a1b2c3d" for stage in STAGES for n in (0, 1)}
    cells = {f"every_seed/weight/{w}/{n}" for w in (0.2, 0.6) for n in (0, 1)}
    single = {f"model/{VARIANT}", f"evaluation/{VARIANT}", "predictions/catseg"}
    assert runs.keys() == trainings | cells | single | {"every_seed/weight"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert all(run.data.tags["mlflow.note.content"] for run in runs.values())
    recorded = json.loads((project.folder / "results/mini/mlflow.json").read_text())["runs"]
    assert recorded == {key: run.info.run_id for key, run in runs.items()}

    parent = runs["every_seed/weight"]
    cell = runs["every_seed/weight/0.6/1"]
    assert cell.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert cell.info.run_name == "clip_weight=0.6 seed=1"
    assert cell.data.params == {"inference.clip_weight": "0.6", "seed": "1"}
    assert cell.data.metrics["mini_ade_36/miou"] == pytest.approx(0.27)
    assert cell.data.metrics["mini_voc_10b/sg_iou"] == numbers(0.27)["sg_iou"]
    assert cell.data.metrics["mean/miou"] == pytest.approx(0.27)

    headline = runs[f"evaluation/{VARIANT}"]
    assert headline.data.metrics["mini_ade_36/miou"] == pytest.approx(0.3)
    assert headline.data.metrics["mean/clip_only/miou"] == pytest.approx(0.25)
    assert headline.data.metrics["mini_ade_36/seconds"] == 4.5
    assert headline.info.end_time - headline.info.start_time == 9000
    tags = headline.data.tags
    assert (tags["recipe"], tags["variant"], tags["seed"]) == ("mini", VARIANT, "0")
    assert tags["dataset_manifest"] == "0123456789ab"

    segmenter = runs[f"segmenter/{VARIANT}"]
    assert all(project.points(segmenter, name) == points(name) for name in CURVES)
    assert segmenter.data.params["clip.source"] == "train"
    tags = segmenter.data.tags
    assert (tags["git_commit"], tags["version.torch"]) == ("c0ffee", "2.5.1")
    assert segmenter.info.end_time - segmenter.info.start_time == 90_500
    assert segmenter.data.metrics["system/job/memory_mib"] == 1599.02


def test_tables_and_pictures_are_with_the_headline(project):
    headline = project.runs()[f"evaluation/{VARIANT}"]
    kept = project.folder / f"mlruns/mini/{headline.info.run_id}/artifacts"
    listed = {str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()}
    expected = {"tables/main.md", "recipe.json"}
    for name in BENCHMARKS:
        expected |= {f"pictures/{name}.png", f"per_class/{name}.json"}
    assert listed == expected
    assert json.loads((kept / "recipe.json").read_text()) == settings()


def test_runs_name_their_data_and_metrics_their_model(project):
    runs = project.runs()
    headline = project.client.get_run(runs[f"evaluation/{VARIANT}"].info.run_id)
    for run in (headline, runs["every_seed/weight/0.6/1"]):
        data = {one.dataset.name: one for one in run.inputs.dataset_inputs}
        assert set(data) == set(BENCHMARKS)
        assert {one.dataset.digest for one in data.values()} == {"0123456789ab"}
        tags = {tag.key: tag.value for tag in data["mini_ade_36"].tags}
        assert tags == {"mlflow.data.context": "evaluation", "split": "val"}
    (training,) = runs[f"segmenter/{VARIANT}"].inputs.dataset_inputs
    tags = {tag.key: tag.value for tag in training.tags}
    assert (training.dataset.name, tags["split"]) == ("mini_coco_24", "train")
    assert json.loads(training.dataset.profile) == {"images": {"train": 60, "val": 8}}
    (model,) = headline.inputs.model_inputs
    logged = project.client.get_logged_model(model.model_id)
    assert logged.source_run_id == runs[f"model/{VARIANT}"].info.run_id
    values = {metric.key: metric.value for metric in logged.metrics}
    assert values["mini_ade_36/clip_only/miou"] == pytest.approx(0.25)
    version = project.client.get_model_version_by_alias("scan-mini", "current")
    assert version.source == f"models:/{model.model_id}"


def test_a_second_sync_adds_nothing(project):
    def everything():
        files = (project.folder / "mlruns").rglob("*")
        dump = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).iterdump(), sep='\\n')"
        command = [sys.executable, "-c", dump, project.folder / "mlflow.db"]
        dumped = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return {str(path): path.stat().st_mtime_ns for path in files}, dumped

    before = everything()
    project.sync()
    assert everything() == before


def test_a_changed_result_takes_the_place_of_the_old_one(tmp_path):
    folder = tmp_path / "a?b #c%20d"  # characters that mean something in an address
    write_results(folder, (0.2, 0.6), None)
    plain = tmp_path / "link"
    plain.symlink_to(folder)

    def synced():
        Workspace(folder).sync()
        return Workspace(plain).runs()

    before = synced()
    table = folder / "results/mini/ablations/every_seed/weight.csv"
    table.write_text(table.read_text().replace("0.26,", "0.5555,"))
    after = synced()
    assert before.keys() == after.keys()
    cell = "every_seed/weight/0.6/0"
    assert after[cell].data.metrics["mini_ade_36/miou"] == 0.5555
    parent = after["every_seed/weight"].info.run_id
    assert {run.data.tags.get("mlflow.parentRunId", parent) for run in after.values()} == {parent}
    same = {key for key in before if before[key].info.run_id == after[key].info.run_id}
    assert same == before.keys() - {cell, "every_seed/weight"}
    write_results(folder, (0.2,), None)
    assert len([key for key in synced() if key.startswith("every_seed/weight/")]) == 2


def test_a_copied_project_does_not_write_to_the_original(project, tmp_path):
    copy = Workspace(tmp_path / "copy")
    shutil.copytree(project.folder, copy.folder)
    said = copy.sync(fails=True)
    assert "the project was moved or copied. Delete mlflow.db and mlruns/ here" in said
    (copy.folder / "mlflow.db").unlink()
    shutil.rmtree(copy.folder / "mlruns")
    copy.sync()
    assert copy.runs().keys() == project.runs().keys()


def test_a_server_that_is_down_fails_the_sync_alone(project, server, tmp_path):
    """And a later one succeeds."""
    shutil.copytree(project.folder / "results", tmp_path / "results")
    text = (project.folder / "runs.json").read_text().replace(str(project.folder), str(tmp_path))
    (tmp_path / "runs.json").write_text(text.replace('"recipe": "mini"', '"recipe": "remote"'))
    record = tmp_path / "results/mini/mlflow.json"
    record.unlink()
    other = Workspace(tmp_path, f"http://127.0.0.1:{_free_port()}")
    (message,) = [line for line in other.sync(fails=True).splitlines() if "error" in line]
    assert message.startswith(f"error: the runs are not recorded in {other.uri} (no answer)")
    assert "The results are complete, only this record is missing: give the same command" in message
    assert not record.exists()
    other.sync(SCAN_TRACKING="off")
    assert json.loads(record.read_text())["runs"] == {}
    other.uri = f"http://127.0.0.1:{server}"
    other.sync()
    runs = other.runs("remote")
    assert runs.keys() == project.runs().keys()
    headline = runs[f"evaluation/{VARIANT}"]
    assert headline.data.tags["workspace"].endswith(f":{tmp_path}")
    assert not (tmp_path / "mlruns").exists(), "files are to be at the server"
    assert len(other.client.list_artifacts(headline.info.run_id, "pictures")) == 2


def test_a_user_without_a_name_is_a_number(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@login01:5000")
    assert store.workspace().startswith("4000000000:")
    assert store.target().startswith("http://login01:5000 ")


# What stands before a server, to be stopped or killed in its place.
_GATE = textwrap.dedent("""
    import asyncio, sys

    async def through(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def accept(reader, writer):
        inside, outside = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
        await asyncio.gather(through(reader, outside), through(inside, writer))

    async def main():
        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(main())
""")


@pytest.fixture
def gate(server):
    command = [sys.executable, "-c", _GATE, str(server)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


# A training without a network: half of its record, a pause, the rest; and how long it was held up.
_TRAINING = textwrap.dedent("""
    import json, logging, sys, time
    from pathlib import Path
    from scan_core.tracking.live import live_run

    logging.basicConfig(level="INFO")
    part, run, curves = sys.argv[1:]
    rows = [json.loads(line) for line in Path(curves).read_text().splitlines()]
    start = time.monotonic()
    with live_run(run, Path(part), Path("work")) as record:
        waited = 0
        for half in (rows[:15], rows[15:]):
            for row in half:
                record(row["step"], {key: value for key, value in row.items() if key != "step"})
            begin = time.monotonic()
            while not Path("go_on").exists():
                time.sleep(0.1)
            waited += time.monotonic() - begin
    print(time.monotonic() - start - waited)
""")


def _training(folder: Path, uri: str | None, run: str) -> subprocess.Popen:
    part = write_part(clip_part(Recipe.model_validate(settings())), folder / "parts")
    (folder / "curves").write_text(curve())
    return subprocess.Popen(
        [sys.executable, "-c", _TRAINING, part, run, "curves"],
        cwd=folder, env={**Workspace(folder, uri).environment, "SCAN_TRACKING": "live"},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("fault", ["none", "down", "hangs", "dies"])
def test_a_server_that_fails_holds_no_training_up(server, gate, tmp_path, fault):
    """And a sync completes the record afterwards, in the run that the training began."""
    port = gate.stdout.readline().strip()
    if fault in ("down", "hangs"):
        gate.send_signal(signal.SIGKILL if fault == "down" else signal.SIGSTOP)
    recipe, key = f"mini_{fault}", f"clip/{VARIANT}"
    training = _training(tmp_path, f"http://127.0.0.1:{port}", f"{recipe}/{key}")
    direct = Workspace(tmp_path, f"http://127.0.0.1:{server}")
    until = time.monotonic() + 90
    while fault in ("none", "dies") and not _has_points(direct, recipe):
        assert training.poll() is None, "ended before anything was recorded"
        assert time.monotonic() < until, "nothing is recorded"
        time.sleep(0.2)
    if fault == "dies":
        gate.kill()
    ended = time.monotonic()
    (tmp_path / "go_on").touch()
    said, warned = training.communicate()
    assert training.returncode == 0, warned
    assert float(said) < 8
    assert time.monotonic() - ended < 15
    assert ("mlflow_sync" in warned) == (fault != "none"), warned
    begun = direct.runs(recipe)[key] if fault in ("none", "dies") else None
    if fault == "none":
        assert direct.points(begun, "loss") == points("loss")
        assert begun.info.status == "FINISHED"
        assert begun.data.tags["threads"]
    elif fault == "dies":
        assert direct.points(begun, "loss").keys() < points("loss").keys()

    results = json.loads(write_results(tmp_path, (0.2,), None).read_text())
    results |= {"recipe": recipe, "trainings": results["trainings"][:1], "grids": []}
    (tmp_path / "runs.json").write_text(json.dumps(results))
    for _ in range(2):
        direct.sync()
        run = direct.runs(recipe)[key]
        assert all(direct.points(run, name) == points(name) for name in CURVES)
        assert begun is None or run.info.run_id == begun.info.run_id
        assert run.info.status == "FINISHED"


def test_a_recorded_training_has_the_same_result_to_the_bit(server, tmp_path):
    """The real script, with and without."""
    document = settings()
    document["clip"]["source"] = "train"
    document["clip"]["pretraining"] |= {"images": 24, "cutouts": 8, "steps": 12, "batch_size": 8}
    document["clip"]["pretraining"] |= {"cutout_steps": 4, "warmup_steps": 1}
    part = write_part(clip_part(Recipe.model_validate(document)), tmp_path / "parts")
    workspace = Workspace(tmp_path, f"http://127.0.0.1:{server}")
    for when in ("off", "live"):
        folder = tmp_path / when
        subprocess.run(
            [
                *(sys.executable, "-m", "workflow_scripts.clip_weights", "--recipe-part", part),
                *("--output", folder / "clip.safetensors", "--metrics", folder / "metrics.jsonl"),
                *("--work", folder / "work", "--run", f"bits/clip/{when}"),
            ],
            cwd=tmp_path, env={**workspace.environment, "SCAN_TRACKING": when}, check=True,
        )  # fmt: skip
    for file in ("clip.safetensors", "metrics.jsonl"):
        assert (tmp_path / "off" / file).read_bytes() == (tmp_path / "live" / file).read_bytes()
    assert list(workspace.runs("bits")) == ["clip/live"]


@pytest.mark.slow
def test_trainings_that_start_together_share_a_new_store(tmp_path):
    trainings = [_training(tmp_path, None, f"four/clip/seed={n}") for n in range(4)]
    workspace, until = Workspace(tmp_path), time.monotonic() + 120
    while not _has_points(workspace, "four", 4):
        assert time.monotonic() < until, "not all are recorded"
        time.sleep(1)
    (tmp_path / "go_on").touch()
    for training in trainings:
        _, said = training.communicate()
        assert training.returncode == 0, said
        assert "mlflow_sync" not in said, said
    for run in workspace.runs("four").values():
        assert workspace.points(run, "loss") == points("loss")


def _has_points(workspace: Workspace, recipe: str, trainings: int = 1) -> bool:
    if not workspace.uri and not (workspace.folder / "mlflow.db").exists():
        return False  # the trainings are to make it
    with FileLock(workspace.folder / ".mlflow.lock"):
        if workspace.client.get_experiment_by_name(f"scan/{recipe}") is None:
            return False
    runs = workspace.runs(recipe).values()
    return sum("loss" in run.data.metrics for run in runs) >= trainings


def test_the_model_is_loaded_by_mlflow_alone_and_segments(project, tmp_path):
    script = textwrap.dedent(f"""
        import mlflow, numpy, pandas
        mlflow.set_tracking_uri("sqlite:///{project.folder}/mlflow.db")
        model = mlflow.pyfunc.load_model("models:/scan-mini@current")
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
    assert len(list((project.folder / "mlruns").rglob("*.safetensors"))) == 1


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
    wanted = "searchFilter=tags.stage%20%3D%20%27cell%27&orderByKey=tags.%60seed%60"
    try:
        browser.get(f"http://127.0.0.1:{server}/#/experiments/1/runs?{wanted}")
        wait = WebDriverWait(browser, 90)
        wait.until(lambda b: "clip_weight=0.6 seed=1" in b.find_element(By.TAG_NAME, "body").text)
        text = browser.find_element(By.TAG_NAME, "body").text
    finally:
        browser.quit()
    assert all(f"clip_weight={w} seed={seed}" in text for w in (0.2, 0.6) for seed in (0, 1))
    assert "4 matching runs" in text


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _answers(port: int) -> bool:
    import requests

    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=2).ok
    except requests.RequestException:
        return False
