"""Whatever is killed, the same command goes on, ends with the same bytes, and leaves nothing."""

import os
import signal

import pytest
from killing import KilledProject, kill, wait, wait_for
from project import small

pytestmark = pytest.mark.slow

MADE = [f"data/mini/benchmarks/{name}/verification.json" for name in ("mini_ade_36", "mini_voc_10")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    project = KilledProject(tmp_path_factory.mktemp("undisturbed"))
    project.edit(small)
    assert wait(project.start(*MADE), 400) == 0, project.log()
    assert project.leftovers() == []
    return project.digests()


@pytest.mark.parametrize("how", ["group", "snakemake"])
def test_the_same_command_goes_on_after_a_kill(tmp_path, undisturbed, how):
    project = KilledProject(tmp_path)
    project.edit(small)
    first = project.start(*MADE)
    wait_for(lambda: any((tmp_path / "data/mini").glob("raw/.*.partial/*")))
    kill(first, how, None)
    first.wait()
    assert list((tmp_path / ".snakemake/locks").iterdir())
    # To look is allowed at any time, and ends nobody.
    assert project.snakemake("-n", "--profile", "local", *MADE).returncode == 0
    assert wait(project.start(*MADE), 400) == 0, project.log()
    assert project.leftovers() == []
    assert project.digests() == undisturbed


def test_two_projects_fill_one_folder_of_data_at_once(tmp_path, undisturbed):
    projects = [KilledProject(tmp_path / name) for name in ("one", "other")]
    for project in projects:
        project.edit(small)
        (tmp_path / "shared").mkdir(exist_ok=True)
        (project.folder / "data").symlink_to(tmp_path / "shared")
    started = [project.start(*MADE) for project in projects]
    for project, process in zip(projects, started, strict=True):
        assert wait(process, 400) == 0, project.log()
    for project in projects:
        assert project.leftovers() == []
        assert project.digests() == undisturbed
        assert project.jobs(*MADE) == {}


def test_a_living_snakemake_keeps_its_lock(tmp_path):
    project = KilledProject(tmp_path)
    project.edit(small)
    first = project.start(*MADE)
    wait_for(lambda: any((tmp_path / ".snakemake/locks").glob("*")))
    os.killpg(first.pid, signal.SIGSTOP)  # it lives as long as the second looks
    second = project.snakemake("--profile", "local", *MADE)
    assert second.returncode != 0
    assert "cannot be locked" in second.stdout
    kill(first, "group", None)
    first.wait()
