"""DVC around the workflow: reproduce, compare, share; nothing is recorded that was not made."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from project import Project, reduced

pytestmark = pytest.mark.slow
WEIGHT = "recipes.mini.inference.clip_weight"
RATE = "recipes.mini.clip_finetune.learning_rate"
METRICS = "metrics/mini_context_24.json"
TRAINING = "Fine-tuning CLIP with masks"


def tiny(params) -> None:
    """One benchmark, a few images, two steps."""
    reduced(params)
    grid = params["ablations"]["ensemble_weight"]
    grid["vary"]["inference.clip_weight"] = [0, 0.1, 1]
    params["ablations"] = {"ensemble_weight": grid}
    params["searches"] = {}
    recipe = params["recipes"]["mini"]
    datasets = recipe["datasets"]
    datasets["miniworld"].update(training_images=6, tuning_images=2, test_images=8)
    for name in set(datasets["benchmarks"]) - {"mini_coco_24", "mini_context_24"}:
        del datasets["benchmarks"][name]
    datasets["benchmarks"]["mini_coco_24"]["images"] = {"train": 6, "val": 8}
    datasets["benchmarks"]["mini_context_24"]["images"] = {"train": 2, "val": 8}
    recipe["inference"]["benchmarks"] = ["mini_context_24"]
    # Two steps teach the segmenter nothing; CLIP alone has numbers to compare.
    recipe["inference"].update(clip_weight=1.0, ensemble="log")
    recipe["segmenter"]["training"].update(steps=2, validate_every=2)


class Repository:
    """A git repository with DVC, and the programs as a person runs them there."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.results = folder / "results/mini"
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "true"}

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str) -> str:
        process = self.start(*command)
        text, _ = process.communicate()
        assert process.returncode == 0, text
        return text

    def set(self, key: str, value: float | str) -> None:
        def change(params):
            *blocks, last = key.split(".")
            for block in blocks:
                params = params[block]
            params[last] = value

        Project.edit(self, change)

    def metrics(self) -> dict[str, float]:
        return json.loads((self.results / METRICS).read_text())

    def metrics_of(self, revision: str) -> dict[str, float]:
        return json.loads(self.run("git", "show", f"{revision}:results/mini/{METRICS}"))

    def experiment(self) -> str:
        """The commit of the only experiment."""
        (name,) = self.run("dvc", "exp", "list", "--name-only").split()
        return self.run("git", "for-each-ref", "--format=%(objectname)", f"refs/exps/**/{name}")[
            :40
        ]

    def back(self, *options: str) -> None:
        """To what was committed, results included."""
        self.run("git", "checkout", "--quiet", ".")
        self.run("dvc", "checkout", *options)

    def clone(self, folder: Path) -> "Repository":
        self.run("git", "clone", "--quiet", ".", str(folder))
        return Repository(folder)

    def tables(self) -> dict[str, bytes]:
        # Without .snakemake_timestamp, which DVC leaves where it is.
        files = sorted((self.results / "tables").glob("[!.]*"))
        return {path.name: path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def edited(tmp_path_factory) -> tuple[Repository, str]:
    """The workflow run by DVC, with an edit in the middle, and what DVC said."""
    project = Project(tmp_path_factory.mktemp("repository"))
    project.edit(tiny)
    repository = Repository(project.folder)
    repository.run("git", "init", "--quiet")
    repository.run("git", "config", "user.name", "A Person")
    repository.run("git", "config", "user.email", "person@example.org")
    repository.run("git", "add", ".")
    repository.run("git", "commit", "--quiet", "--message", "A small recipe")
    process = repository.start("dvc", "repro")
    while process.poll() is None and not (repository.folder / "results/stages/clip").exists():
        time.sleep(0.1)
    repository.set(WEIGHT, 0.3)
    text, _ = process.communicate()
    assert process.returncode != 0, text
    assert not (project.folder / "dvc.lock").exists()
    return repository, text


@pytest.fixture(scope="module")
def made(edited) -> Repository:
    """After the edit was taken back, and the results committed."""
    repository, _ = edited
    repository.run("git", "checkout", "--quiet", "params.yaml")
    text = repository.run("dvc", "repro")
    assert TRAINING not in text, "what was finished stays"
    repository.run("git", "add", "dvc.lock", "results")
    repository.run("git", "commit", "--quiet", "--message", "Its results")
    return repository


def test_an_edit_during_the_run_is_not_recorded(edited):
    repository, text = edited
    assert "error: params.yaml changed during the run" in text
    (file,) = repository.results.glob("eval/*/mini_context_24-*/metrics.json")
    evaluated = json.loads(file.read_text())
    assert evaluated["settings"]["clip_weight"] == 1.0, "what the run began with"
    lock = repository.folder / "dvc.lock"
    assert not lock.exists() or "clip_weight: 0.3" not in lock.read_text(), "`made` may have run"


def test_only_leaves_and_numbers_are_kept(made):
    tracked = made.run("git", "ls-files", "results", "dvc.lock").split()
    assert tracked == ["dvc.lock", "results/README.md", f"results/mini/{METRICS}"]
    assert made.run("git", "status", "--porcelain") == ""


def test_the_paths_are_those_of_the_recipe(made):
    made.set("recipe", "vitb16")
    missing = made.run("dvc", "status")
    made.run("git", "checkout", "--quiet", ".")
    for name in ("tables", "figures", "release", "metrics"):
        assert f"results/vitb16/{name}" in missing


def test_a_second_repro_does_nothing(made):
    assert "didn't change, skipping" in made.run("dvc", "repro")
    assert "up to date" in made.run("dvc", "status")
    assert "Nothing to be done" in made.run("snakemake", "-n", "--profile", "local", "all")


def test_a_killed_repro_leaves_what_was_there_and_nothing_is_drawn_again(made):
    kept = made.tables()
    process = made.start("dvc", "repro", "--force")
    while b"snakemake\0--profile" not in _commands(made.folder):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    while b"\0workflow_scripts." in _commands(made.folder):
        time.sleep(0.1)
    assert made.tables() == kept
    assert (made.results / "release/model.safetensors").is_file()
    text = made.run("dvc", "repro", "--force")
    assert "Nothing to be done" in text


def _commands(folder: Path) -> bytes:
    """The command lines of every process in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").resolve(strict=True) == folder.resolve():
                found.append(b"\0" + (entry / "cmdline").read_bytes())
    return b"".join(found)


def test_an_experiment_on_a_setting(made):
    text = made.run("dvc", "exp", "run", "--set-param", f"{WEIGHT}=0.1")
    assert "Evaluating" in text
    assert TRAINING not in text
    table = (made.results / "ablations/ensemble_weight.csv").read_text().splitlines()
    (row,) = [line for line in table if ",0.1," in line]
    in_grid = float(row.split(",")[4])
    assert made.metrics()["miou"] == pytest.approx(100 * in_grid, abs=1e-4)
    assert made.metrics() == made.metrics_of(made.experiment())
    changes = json.loads(made.run("dvc", "params", "diff", "--json"))
    (change,) = changes["params.yaml"].items()
    assert (change[0], change[1]["old"], change[1]["new"]) == (WEIGHT, 1.0, 0.1)
    changes = json.loads(made.run("dvc", "metrics", "diff", "--json"))
    shown = changes[f"results/mini/{METRICS}"]
    base, now = made.metrics_of("HEAD"), made.metrics()
    assert shown.keys() == {key for key in now if now[key] != base[key]} != set()
    shown = made.run("dvc", "metrics", "show").splitlines()
    assert len(shown) == 2, "a row for each benchmark"
    made.run("dvc", "plots", "diff", "HEAD")
    page = (made.folder / "dvc_plots/index.html").read_text()
    assert "Training of the segmenter" in page
    assert "seen_unseen.png" in page
    # Tables of one recipe, restored over those of another, are not mistaken for the other's.
    made.back()
    made.set(WEIGHT, 0.1)
    plan = made.run("snakemake", "-n", "--profile", "local", "all")
    assert "Writing the tables" in plan
    assert "Evaluating" not in plan
    made.back()
    made.run("dvc", "exp", "remove", "--all-commits")


@pytest.mark.long
def test_an_experiment_on_the_training_has_the_numbers_of_a_plain_run(made):
    before = made.metrics()
    made.set(RATE, 0.01)
    assert TRAINING in made.run("snakemake", "--profile", "local", "all")
    plain = made.metrics()
    assert plain != before
    made.back("--force")  # DVC does not throw away by itself what it has not kept
    assert made.metrics() == before
    made.run("dvc", "exp", "run", "--set-param", f"{RATE}=1e-2")
    assert made.metrics() == plain
    made.back()


def test_a_clone_pulls_the_tables_and_computes_nothing(made, tmp_path):
    made.back("--force")  # what is pushed is what is cloned, whatever a failed test has left
    made.run("dvc", "remote", "add", "--local", "folder", str(tmp_path / "storage"))
    made.run("dvc", "push", "--remote", "folder")
    clone = made.clone(tmp_path / "clone")
    clone.run("dvc", "remote", "add", "--local", "--default", "folder", str(tmp_path / "storage"))
    clone.run("dvc", "pull")
    assert clone.tables() == made.tables()
    clone_weights = clone.results / "release/model.safetensors"
    assert clone_weights.read_bytes() == (made.results / "release/model.safetensors").read_bytes()
    assert "didn't change, skipping" in clone.run("dvc", "repro")
    # The release is an artifact, found by the version that GTO gave it.
    clone.run("gto", "register", "scan", "--version", "v1.0.0")
    clone.run("dvc", "artifacts", "get", ".", "scan", "--out", str(tmp_path / "released"))
    assert (tmp_path / "released").read_bytes() == clone_weights.read_bytes()
    # Snakemake, which has made nothing here, does not take the pulled tables for other recipes'.
    clone.set(WEIGHT, 0.1)
    assert TRAINING in clone.run("snakemake", "-n", "--profile", "local", "tables")
