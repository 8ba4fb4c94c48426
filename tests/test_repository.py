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
    assert f"version {project['version']}." in (ROOT / "mkdocs.yml").read_text()
    versions = re.findall(r"^## \[(\d\S+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == project["version"], "the changelog's newest version is the project's"
    paper = citation["preferred-citation"]
    entry = (ROOT / "README.md").read_text().split("```bibtex")[1].split("```")[0]
    assert f"{{{paper['title']}}}" in entry
    assert f"{{{paper['year']}}}" in entry
    for author in paper["authors"]:
        assert f"{author['family-names']}, {author['given-names']}" in entry


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


def test_promises_are_few_and_name_tests_that_are_there():
    text = (ROOT / "docs/promises.md").read_text()
    rows = re.findall(r"^\| (?!Promise|---)(.*)$", text, re.MULTILINE)
    assert 20 < len(rows) <= 30
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)`", row)
        assert named, row
        assert all((ROOT / "tests" / name).is_file() for name in named), row
