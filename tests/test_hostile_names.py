"""Names and paths of params.yaml that a shell would take for something else, and missing files."""

import json
import re

import pytest
from project import ROOT, Project, small

# A space, quotes, a command, a variable, a pattern, a comment, and a separator.
ROOT_OF_DATA = 'my data\'s "best" $(touch ran) $HOME *#;&'


def test_every_word_of_a_command_is_quoted():
    """Whatever a rule puts into its command is one word of it, whatever letters it has."""
    left = []
    for file in (ROOT / "rules").glob("*.smk"):
        for command in re.findall(r"    shell:\n((?: {8}.*\n?)+)", file.read_text()):
            # In f-strings the fields that Snakemake puts in have two braces.
            fields = re.findall(r"\{+([^{}]+)\}", command)
            assert fields, command
            # A quoted word, a number, a command of several words, and a hash of code.
            known = r".*:q|threads|READ|resources\.launcher|(code|end_of)\(.*\)"
            left += [(file.name, field) for field in fields if not re.fullmatch(known, field)]
    assert not left


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "says"), [("a{brace}", "for wildcards; rename the folder"), ("full", ".snakemake")]
)
def test_a_folder_that_nothing_can_run_in_is_told_in_one_message(tmp_path, name, says):
    project = Project(tmp_path / name)
    if name == "full":  # nothing can be written there, as in a folder that is read only
        (project.folder / ".snakemake").write_text("")
    ran = project.snakemake("-n", "--cores", "1", "all")
    assert ran.returncode != 0
    assert says in ran.stdout
    assert "Traceback" not in ran.stdout


@pytest.mark.slow
def test_a_data_folder_of_any_name_is_one_folder(tmp_path):
    project = Project(tmp_path)

    def change(params):
        small(params)
        params["recipes"]["mini"]["datasets"]["root"] = ROOT_OF_DATA

    project.edit(change)
    report = str(project.benchmark("mini_voc_10").relative_to(tmp_path) / "verification.json")
    ran = project.snakemake("--profile", "local", report)
    assert ran.returncode == 0, ran.stdout
    assert json.loads((project.folder / report).read_text())["splits"]["val"]["images"]
    assert not list(tmp_path.rglob("ran"))


@pytest.mark.slow
def test_what_a_later_rule_reads_of_ones_own_data_is_missed_before_anything_runs(tmp_path):
    project = Project(tmp_path)
    raw = tmp_path / "my raw"
    captions = raw / "coco/annotations/captions_train2017.json"
    for folder in ("ADEChallengeData2016", "ADE20K_2021_17_01", "VOCdevkit/VOC2012"):
        (raw / folder).mkdir(parents=True)
    captions.parent.mkdir(parents=True)

    def change(params):
        params["recipes"]["mini"]["datasets"].update(source=f"local:{raw}", miniworld=None)

    project.edit(change)

    def missing(target):
        ran = project.snakemake("-n", "--profile", "local", target)
        return ran.returncode != 0 and "is missing" in ran.stdout and ran.stdout

    assert str(captions) in missing("train")
    captions.write_text("{}")
    assert str(raw / "VOCdevkit/VOC2010") in missing("all")
