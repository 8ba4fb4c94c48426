"""What Snakemake remembers is lost, and one key of `params.yaml` is another: nothing old stays.

Of every section of the schema one key is changed. Whatever runs another command than before must be
made again, although Snakemake remembers nothing; for one key all of it is made, and compared with a
run that begins from nothing.
"""

import copy
import re
import shutil
from typing import Any, Literal, get_args, get_origin

import pytest
from killing import KilledProject
from project import reduced
from pydantic import BaseModel

from scan_core.errors import InputError
from scan_core.params.grid import check_grid
from scan_core.params.reading import read_params, validate
from scan_core.params.search_space import searched_benchmarks

pytestmark = pytest.mark.long


# Made in seconds, and made again where the memory is lost.
LEAVES = {"tables", "figures", "qualitative", "report_page", "release", "mlflow_sync", "all"}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> KilledProject:
    project = KilledProject(tmp_path_factory.mktemp("fresh"))
    project.edit(reduced)
    return project


@pytest.fixture(scope="module")
def made(tmp_path_factory, fresh) -> KilledProject:
    project = KilledProject(tmp_path_factory.mktemp("made"))
    project.edit(reduced)
    ran = project.snakemake("--profile", "local", "all", "searches")
    assert ran.returncode == 0, ran.stdout
    shutil.rmtree(project.folder / ".snakemake")
    assert project.jobs("all", "searches").keys() <= LEAVES, "what it remembers is not needed"
    return project


def sections(model: BaseModel, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], BaseModel]:
    """Every section of a recipe by its path; of many of one kind, such as benchmarks, the first."""
    found = {path: model}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, dict):
            nested = [(key, one) for key, one in value.items() if isinstance(one, BaseModel)][:1]
        else:
            nested = [(None, value)] if isinstance(value, BaseModel) else []
        for key, one in nested:
            found |= sections(one, (*path, name, *([key] if key else [])))
    return found


def others(annotation: Any, value: Any) -> list[Any]:
    """Values that a key may have instead, as far as its type tells."""
    found = []
    for kind in (annotation, *get_args(annotation)):
        if get_origin(kind) is Literal:
            found += [one for one in get_args(kind) if one != value]
    if isinstance(value, bool):
        found.append(not value)
    elif isinstance(value, int):
        found += [value + 1, 2 * value, value - 1]
    elif isinstance(value, float):
        found += [0.9 * value, 1.1 * value]
    elif isinstance(value, list | tuple) and len(value) > 1:
        found.append(list(value[:-1]))
    return found


def put(document: dict, path: tuple[str, ...], value: Any) -> None:
    *blocks, last = path
    for block in blocks:
        document = document.setdefault(block, {})
    document[last] = value


def change_of(document: dict, path: tuple[str, ...], section: BaseModel):
    """A key of a section and another value that the whole of `params.yaml` allows."""
    for name, field in type(section).model_fields.items():
        for value in others(field.annotation, getattr(section, name)):
            changed = copy.deepcopy(document)
            put(changed["recipes"]["mini"], (*path, name), value)
            try:
                params = validate(changed)
                for grid in params.recipes["mini"].grids:
                    check_grid(grid, params.recipes["mini"], params.ablations[grid])
                searched_benchmarks("settings", params.searches["settings"], params.recipes["mini"])
            except InputError:
                continue
            return (*path, name), value
    return None


def commands(project: KilledProject) -> dict[str, set[str]]:
    """The command lines of every rule, of a run from nothing."""
    ran = project.snakemake("-n", "-p", "-F", "--profile", "local", "all", "searches")
    assert ran.returncode == 0, ran.stdout
    found: dict[str, set[str]] = {}
    for line in ran.stdout.splitlines():
        if match := re.search(r"-m workflow_scripts\.(\w+) .*", line):
            found.setdefault(match[1], set()).add(match[0].partition(" && cp ")[0])
    return found


def test_of_every_section_a_key_is_noticed(made):
    text = (made.folder / "params.yaml").read_text()
    document = read_params(made.folder / "params.yaml")
    before = commands(made)
    assert {"train_segmenter", "mine_shard", "evaluate_shard", "search_settings"} < before.keys()
    tried, old = [], []
    for path, section in sections(validate(document).recipes["mini"]).items():
        if (change := change_of(document, path, section)) is None:
            continue
        where, value = change
        made.edit(lambda params, w=where, v=value: put(params["recipes"]["mini"], w, v))
        after = commands(made)
        # A rule of the same command may read other files: what makes those is in the list.
        different = {rule for rule in after if after[rule] - before.get(rule, set())}
        redone = set(made.jobs("all", "searches"))
        redone |= {"convert_benchmark"} if "convert_benchmark_with_images" in redone else set()
        tried.append(".".join(where))
        old += [f"{tried[-1]} = {value}: {rule}" for rule in sorted(different - redone)]
        (made.folder / "params.yaml").write_text(text)
        shutil.rmtree(made.folder / ".snakemake")
    print("\n".join(tried))
    assert old == []
    assert len(tried) >= 12, "sections of the schema"
    assert made.jobs("all", "searches").keys() <= LEAVES


def test_what_is_made_again_is_what_a_fresh_run_makes(made, fresh):
    def other(params):
        recipe = params["recipes"]["mini"]
        recipe["segmenter"]["training"]["learning_rate"] = 0.002

    fresh.edit(other)
    made.edit(other)
    for project in (made, fresh):
        ran = project.snakemake("--profile", "local", "all", "searches")
        assert ran.returncode == 0, ran.stdout
    ours, theirs = made.digests(), fresh.digests()
    differ = [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
    # Counts that are kept for settings nobody asks for any more, and texts of other weights.
    assert [name for name in differ if name in theirs or "/text/" not in name] == []
