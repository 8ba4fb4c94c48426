"""What an open-source project keeps in step: versions, continuous integration, hooks, templates."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
YAML_FILES = [ROOT / ".pre-commit-config.yaml", *sorted((ROOT / ".github").rglob("*.yml"))]


def read(path: str):
    return YAML(typ="safe").load((ROOT / path).read_text(encoding="utf-8"))


def test_version_and_citation_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = read("CITATION.cff")
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    versions = re.findall(r"^## \[(\d\S+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == project["version"], "the changelog's newest version is the project's"
    paper = citation["preferred-citation"]
    entry = (ROOT / "README.md").read_text().split("```bibtex")[1].split("```")[0]
    assert f"{{{paper['title']}}}" in entry
    assert f"{{{paper['year']}}}" in entry
    for author in paper["authors"]:
        assert f"{author['family-names']}, {author['given-names']}" in entry


def test_continuous_integration_runs_what_ci_run_runs():
    """Every command of .ci/run that checks something, in its order; `sudo` is the runner's."""

    def checks(lines):
        found = (line.strip().removeprefix("sudo ") for line in lines)
        return [line for line in found if re.match(r"make |\.venv/bin/|tests/", line)]

    script = (ROOT / ".ci/run").read_text()
    expected = checks(
        re.sub(r"^command -v \w+ > /dev/null \|\| ", "", script, flags=re.M).splitlines()
    )
    expected = [line.partition(" || ")[0] for line in expected]
    jobs = read(".github/workflows/ci.yml")["jobs"]
    steps = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    ran = [line.partition(" || ")[0] for line in checks(steps)]
    assert sorted(ran) == sorted(expected)
    commands = [line for line in ran if line.startswith("make")]
    assert commands == ["make lint", "make test", "make test-slow", "make test-cluster"]
    for job in jobs.values():
        uses = [step.get("uses", "") for step in job["steps"]]
        assert uses[0].startswith("actions/checkout@"), "a job begins in a clone"


def test_hooks_are_the_linters_of_make_lint():
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    linters = [line.strip() for line in recipe[1].splitlines()]
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    entries = [hook["entry"].removeprefix(".venv/bin/") for hook in repository["hooks"]]
    assert entries == linters
    assert not [hook for hook in repository["hooks"] if hook["pass_filenames"]]


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_configuration_is_readable(path):
    assert YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def test_contributing_names_files_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:scan_core|rules|tests|workflow_scripts|docs|envs)/[\w./]+)`", text)
    assert len(named) > 10
    assert not [path for path in named if not (ROOT / path).exists()]
    for command in re.findall(r"^    python -m pytest (.*)$", text, re.MULTILINE):
        for word in shlex.split(command.partition("  #")[0]):
            if word.startswith("tests/"):
                assert (ROOT / word.partition("::")[0]).is_file(), command
