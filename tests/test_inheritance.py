"""A temporary copy of the project takes over what was made, and cannot change the workspace."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from scan_core.command.inheritance import inherit

# Data, a training, a small result; each with a parameter.
WORKFLOW = textwrap.dedent("""
    rule all:
        input: "results/small.txt"
    rule draw:
        output: directory("data/images")
        params: n=2
        shell: "mkdir -p {output} && echo {params.n} > {output}/one.png"
    rule train:
        input: "data/images"
        output: "results/large.bin"
        shell: "head -c 2000000 /dev/zero > {output}"
    rule report:
        input: "results/large.bin"
        output: "results/small.txt"
        params: w=config.get("weight", 1)
        benchmark: "results/timings/report.tsv"
        shell: "echo {params.w} > {output}"
    """)


def snakemake(folder: Path, *options: str) -> str:
    program = Path(sys.executable).with_name("snakemake")
    ran = subprocess.run(
        [program, "--cores", "1", "--quiet", "rules", *options],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


@pytest.fixture
def copies(tmp_path) -> tuple[Path, Path]:
    """A workspace in which the workflow has run, and a copy of what git holds."""
    for name in ("workspace", "copy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Snakefile").write_text(WORKFLOW)
    workspace = tmp_path / "workspace"
    snakemake(workspace)
    (workspace / "results/work").mkdir()
    (workspace / "results/work/metrics.jsonl").write_text("a training goes on")
    (workspace / "data/archive.zip.part").write_text("a download goes on")
    return workspace, tmp_path / "copy"


def test_only_what_differs_is_made_again_and_the_workspace_stays_as_it_is(copies):
    workspace, copy = copies

    def state() -> dict[str, tuple[bytes, int]]:
        files = (path for path in workspace.rglob("*") if path.is_file())
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    before = state()
    assert inherit(workspace, copy)
    assert "Nothing to be done" in snakemake(copy, "-n")
    assert not (copy / "results/work").exists()
    assert not (copy / "data/archive.zip.part").exists()
    plan = snakemake(copy, "-n", "--config", "weight=2")
    assert "report" in plan
    assert "train" not in plan
    snakemake(copy, "--config", "weight=2")
    assert (copy / "results/small.txt").read_text() == "2\n"
    # Even where a training is made anew in the place of a hard link.
    snakemake(copy, "--forceall", "--config", "weight=3")
    assert state() == before
    assert not inherit(workspace, copy), "a copy that has made something has its own records"


def test_nothing_is_taken_from_a_workflow_that_runs(copies, caplog):
    workspace, copy = copies
    (workspace / ".snakemake/locks").mkdir(exist_ok=True)
    (workspace / ".snakemake/locks/0.output.lock").write_text("")
    assert not inherit(workspace, copy)
    assert "starts from scratch" in caplog.text
    assert not (copy / "results").exists()
