"""The workflow through real Snakemake: what is made, what is made again, and what is refused."""

import json
import re
import shutil
import subprocess

import pytest
import torch
from project import MINI, Project, small


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    project.edit(small)
    project.make("datasets")
    return project


def test_datasets_makes_every_benchmark(made):
    manifest = json.loads((made.folder / "results/mini/dataset_manifest.json").read_text())
    assert set(manifest["benchmarks"]) == set(MINI)
    for name in MINI:
        assert (made.benchmark(name) / "sheet.png").stat().st_size > 10_000
    assert made.jobs("datasets") == {}


def test_a_copy_with_other_times_does_nothing_again(made, tmp_path):
    """As a plain `cp -r` makes it: what counts is the content."""
    copy = Project(tmp_path / "copy")
    subprocess.run(["cp", "-r", f"{made.folder}/.", copy.folder], check=True)
    assert copy.jobs("datasets") == {}
    (record,) = (copy.folder / "data/mini/raw").glob("*/voc2012.json")
    record.write_text(record.read_text().replace("{", "{ ", 1))
    assert copy.jobs("datasets")["convert_benchmark"] == 2, "of other content, from that layout"


def test_a_project_with_linked_data_can_be_renamed(made, tmp_path):
    copy = Project(tmp_path / "copy")
    shutil.copytree(made.folder, copy.folder, symlinks=True, dirs_exist_ok=True)
    (copy.folder / "data").rename(tmp_path / "scratch")
    (copy.folder / "data").symlink_to(tmp_path / "scratch")
    copy.folder = copy.folder.rename(tmp_path / "renamed")
    assert copy.jobs("datasets") == {}
    shutil.rmtree(copy.benchmark("mini_voc_10"))
    copy.make("datasets")
    assert copy.jobs("datasets") == {}


def test_a_deleted_output_is_made_again(made):
    shutil.rmtree(made.benchmark("mini_ade_36") / "labels")
    assert "convert_benchmark" in made.jobs("datasets")
    made.make("datasets")
    assert made.jobs("datasets") == {}


def test_an_edit_of_code_is_noticed_and_can_be_kept(made):
    path = made.folder / "scan_core/datasets/verification.py"
    text = path.read_text()
    path.write_text(f"# A comment.\n{text}")
    assert made.jobs("datasets") == {}
    path.write_text(f"{text}\nADDED = 1\n")
    jobs = made.jobs("datasets")
    kept = made.jobs("datasets", "--rerun-triggers", "mtime", "input", "params")
    path.write_text(text)
    assert jobs["verify_dataset"] == len(MINI)
    assert "convert_benchmark" not in jobs
    assert kept == {}


def test_without_memory_and_after_another_recipe_nothing_stale_is_used(made):
    with made.forgetful():
        assert made.jobs("datasets").keys() <= {"dataset_manifest", "datasets"}, "a leaf"
        with made.edited(lambda params: params["recipes"]["mini"].update(seed=1)):
            assert made.jobs("datasets")["convert_benchmark"] == len(MINI) - 1
        assert made.jobs("datasets").keys() <= {"dataset_manifest", "datasets"}
    assert made.jobs("datasets") == {}


def test_the_paper_is_planned_and_says_what_to_obtain_by_hand(made):
    said = made.make("-n", "--config", "recipe=vitl14", "--", "all")
    assert "To be obtained by hand: ADE20K_2021_17_01.zip" in said
    assert "data/paper/manual/ADE20K_2021_17_01.zip" in said
    assert re.search(r"^download_archive +11$", said, re.MULTILINE)
    assert re.search(r"^verify_dataset +7$", said, re.MULTILINE)
    assert "annotations_trainval2017.zip" in said
    # Captions are for mining, which published weights do without; the segmenter is trained.
    torch.save({}, made.folder / "CS_CLIP.pt")
    source = "recipes={vitl14_fused: {clip_finetune: {source: 'finetuned_clip:CS_CLIP.pt'}}}"
    said = made.make("-n", "--config", "recipe=vitl14_fused", source, "--", "all")
    assert "train_segmenter" in said
    assert "train2017.zip" in said
    assert "annotations_trainval2017.zip" not in said


def test_threads_of_the_miniature_world_do_not_follow_the_number_of_cores(made):
    """Or numbers would."""
    ran = made.snakemake("-n", "-p", "--cores", "6", "--", "ablations")
    threads = re.findall(r"/clip/seed=(\d)-\w+/work .*--workers (\d)", ran.stdout)
    assert sorted(threads) == [("0", "1"), ("1", "1"), ("2", "1")], ran.stdout


def test_an_archive_that_must_be_placed_by_hand(made):
    target = "data/paper/raw/extracted/ADE20K_2021_17_01.zip.json"
    run = ("--config", "recipe=vitb16", "--", target)
    ran = made.snakemake("--profile", "local", *run)
    assert ran.returncode != 0
    assert "https://ade20k.csail.mit.edu/request_data/" in ran.stdout
    manual = made.folder / "data/paper/manual/ADE20K_2021_17_01"
    manual.parent.mkdir(parents=True)
    (raw,) = (made.folder / "data/mini/raw").glob("ade_full-*")
    shutil.make_archive(str(manual), "zip", raw, "ADE20K_2021_17_01")
    made.make(*run)
    record = json.loads((made.folder / target).read_text())
    assert record["members"] == 2 * (3 + 8) + 1
    assert (made.folder / "data/paper/raw/ADE20K_2021_17_01/index_ade20k.pkl").is_file()


def test_the_profile_of_the_cluster_is_valid(made):
    ran = made.snakemake("--profile", "slurm", "-n", "all")
    assert ran.returncode == 0, ran.stdout


def test_a_typo_stops_the_run_with_one_message(made):
    typo = "recipes={mini: {segmenter: {training: {stepz: 3}}}}"
    ran = made.snakemake("-n", "--config", typo, "--", "datasets")
    assert ran.returncode != 0
    assert "training.stepz: unknown key (did you mean 'steps'" in ran.stdout
    assert "Traceback" not in ran.stdout
