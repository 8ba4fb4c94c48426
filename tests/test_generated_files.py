"""What is generated and kept in the repository is in step with what it is made from."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from docs.clips_table import clips_page
from docs.diagrams import DIAGRAMS
from docs.json_schema import json_schema
from docs.parameter_reference import parameter_reference
from scan_core.params.reading import read_params

ROOT = Path(__file__).parents[1]
LOCKS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "envs").glob("*.lock")}


def test_the_reference_of_parameters_is_current():
    page = (ROOT / "docs/parameters.md").read_text(encoding="utf-8")
    assert page == parameter_reference(ROOT / "params.yaml"), "run `make docs`"


def test_the_table_of_clips_is_current():
    page = (ROOT / "docs/clips.md").read_text(encoding="utf-8")
    assert page == clips_page(), "run `make docs`"


def test_the_schema_for_editors_is_current_and_takes_params_yaml():
    text = (ROOT / "docs/params.schema.json").read_text(encoding="utf-8")
    assert text == json_schema(), "run `make docs`"
    first, _, _ = (ROOT / "params.yaml").read_text(encoding="utf-8").partition("\n")
    assert first == "# yaml-language-server: $schema=docs/params.schema.json"
    checker = Draft202012Validator(json.loads(text))
    params = read_params(ROOT / "params.yaml")
    assert not list(checker.iter_errors(params))
    training = params["recipes"]["mini"]["segmenter"]["training"]
    training["step"] = training.pop("steps")
    params["recipes"]["vitb16"]["inference"]["ensemble"] = "sum"
    found = {(tuple(map(str, e.absolute_path)), e.validator) for e in checker.iter_errors(params)}
    assert (("recipes", "mini", "segmenter", "training"), "additionalProperties") in found
    assert any(path[-1] == "ensemble" for path, _ in found)


@pytest.mark.parametrize("name", DIAGRAMS)
def test_the_diagrams_are_current(name):
    picture = (ROOT / f"docs/pictures/{name}.svg").read_text(encoding="utf-8")
    assert picture == DIAGRAMS[name](), "run `make docs`"


def test_the_documentation_builds_without_a_broken_link_and_asks_no_other_server(tmp_path):
    """mkdocs is strict: a link to nowhere, or a page that no other leads to, fails the build."""
    mkdocs = Path(sys.executable).with_name("mkdocs")
    ran = subprocess.run(
        [mkdocs, "build", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    pages = sorted((tmp_path / "site").glob("*.html"))
    assert {"index.html", "quickstart.html", "own_data.html"} <= {page.name for page in pages}
    for page in pages:
        loads = re.findall(
            r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*|"
            r"<link\b[^>]*rel=[\"']?(?:stylesheet|preconnect)[^>]*//[^>]*",
            page.read_text(encoding="utf-8"),
        )
        assert not loads, f"{page.name} loads {loads}"
    assert not list((tmp_path / "site").rglob("*.py"))
    # So that the search works in pages that are opened as files.
    assert (tmp_path / "site/search/search_index.js").is_file()
    assert "from_checkpoint" in (tmp_path / "site/api.html").read_text(encoding="utf-8")


def test_the_readme_links_to_files_that_are_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert len(links) > 8
    assert not [link for link in links if not (ROOT / link).is_file()]


def test_the_conda_environment_holds_the_pins_of_the_lock():
    module = runpy.run_path(str(ROOT / "envs/make_conda_environment.py"))
    made = module["environment"](LOCKS["requirements"])
    assert (ROOT / "envs/scan.yaml").read_text(encoding="utf-8") == made


def test_the_locks_pin_everything_with_hashes_and_name_no_address():
    for lock in LOCKS.values():
        requirements = re.split(r"\n(?=\S)", lock.strip())
        assert all("==" in one and "--hash=sha256:" in one for one in requirements)
        assert "://" not in lock


def test_what_the_demo_installs_is_part_of_what_developers_install():
    pins = runpy.run_path(str(ROOT / "envs/make_conda_environment.py"))["pins"]
    # The first installation would be undone by the second where a version differs.
    assert set(pins(LOCKS["requirements"])) <= set(pins(LOCKS["development"]))
    demo = LOCKS["requirements"]
    assert not re.search(r"^(transformers|mypy|pytest|selenium|mkdocs)==", demo, re.MULTILINE)
