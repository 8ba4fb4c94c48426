"""Weights from files in place of trainings: the plan, the results, and what is refused."""

import contextlib
import copy
import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from documented import code_blocks, shown_files
from parity_pack import named_weights, released_constants, released_keys, to_theirs
from PIL import Image
from project import BENCHMARKS, ROOT, Project, reduced
from raw_data import photo, png, stripes
from ruamel.yaml import YAML

from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.evaluation.settings_file import EvaluationSettings
from scan_core.inference.assembly import segmenter_weights
from scan_core.inference.scan import Scan
from scan_core.models.build import architecture_of, build_clip
from scan_core.models.checkpoints import import_foreign, load_network, start_from
from scan_core.models.packaged.files import load_packaged, packaged_file
from scan_core.models.released_names import FINETUNED_CLIP, SCAN
from scan_core.params.grid import cell_of, changed, check_grid
from scan_core.params.own_files import known
from scan_core.params.reading import read_params, validate
from scan_core.params.recipe_part import write_part
from scan_core.params.schema.grids import Ablation
from scan_core.params.settings import settings_table
from scan_core.params.weights_files import weights_problems
from scan_core.storage.files import file_digest
from scan_core.storage.weights import load_tensors, save_tensors
from scan_core.vocabulary.classes import load_class_list
from workflow_scripts.import_weights import import_weights

SHIPPED = read_params(ROOT / "params.yaml")
CS_CLIP = "finetuned_clip:weights/CS_CLIP.pt"
TRAININGS = {
    "clip_weights", "train_segmenter", "mine_shard", "mine_mask_text_pairs", "finetune_clip"
}  # fmt: skip


def write_own_images(folder: Path) -> None:
    """Images, label maps and a class list, where the guide has them."""
    (folder / "own").mkdir()
    (folder / "own/classes.json").write_text(
        shown_files(ROOT / "docs/own_data.md")["own/classes.json"]
    )
    for split in ("train", "val"):
        photo(folder / f"own/raw/images/{split}/{split}.jpg")
        png(folder / f"own/raw/labels/{split}/{split}.png", stripes(1, 2, 3))


def released(project: Project) -> None:
    """Write SCAN.pth and CS_CLIP.pt of the recipe `mini`, with weights that tell regions apart.

    The CLIP is the packaged one, the segmenter's weights are made from their names.
    """
    network = Scan.from_recipe(project.params.recipes["mini"]).network
    clip = load_packaged(packaged_file("mini_clip", "clip.source"))[0]
    network.clip.load_state_dict(clip)
    network.original_clip.load_state_dict(network.clip.visual.state_dict())
    with torch.no_grad():
        network.clip.visual.proj *= 1.25  # as if fine-tuned
    weights = to_theirs(network.state_dict(), SCAN)
    made = named_weights(weights)
    weights |= {name: made[name] for name in weights if not name.startswith("clip_adapter.")}
    constants = released_constants(weights, 24, 0.1)
    folder = project.folder / "weights"
    folder.mkdir(exist_ok=True)
    torch.save({"model": {**weights, **constants}, "iteration": 119_999}, folder / "SCAN.pth")
    tuned = to_theirs(network.state_dict(), FINETUNED_CLIP)
    tuned = {f"module.{n}": t for n, t in tuned.items() if n.startswith("clip_model.")}
    torch.save({"state_dict": tuned, "epoch": 10}, folder / "CS_CLIP.pt")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("released"))

    def change(params):
        reduced(params)
        source = f"scan:{project.folder}/weights/SCAN.pth"
        params["recipes"].update(
            {
                "released": {
                    "extends": "mini",
                    "grids": ["ensemble_weight"],
                    "clip": {"source": source, "pretraining": None},
                    "segmenter": {"source": source},
                    "clip_finetune": {"source": source},
                },
                "one": {"extends": "released", "inference": {"benchmarks": BENCHMARKS[:1]}},
                "trained": {"extends": "mini", "grids": []},
                "fused": {"extends": "trained", "clip_finetune": {"source": CS_CLIP}},
            }
        )
        params["ablations"]["tuned"] = {
            "recipe": "trained",
            "vary": {"clip_finetune.source": ["train", CS_CLIP]},
            "seeds": [0],
        }
        params["recipe"] = "released"

    project.edit(change)
    released(project)
    return project


def test_nothing_is_planned_but_the_evaluation(project):
    jobs = project.jobs("--", "all")
    assert not TRAININGS & jobs.keys()
    assert jobs["import_weights"] == 3
    assert jobs["convert_benchmark"] == len(BENCHMARKS)
    assert jobs["generate_miniworld"] == len(BENCHMARKS), "no layout of training images"
    one = project.jobs("--config", "recipe=one", "--", "all")
    assert not TRAININGS & one.keys()
    assert one["convert_benchmark"] == one["evaluate"] == one["generate_miniworld"] == 1


def test_with_a_published_fine_tuned_clip_the_segmenter_is_trained_alone(project):
    jobs = project.jobs("--config", "recipe=fused", "--", "all")
    assert jobs["train_segmenter"] == jobs["import_weights"] == jobs["clip_weights"] == 1
    assert not {"mine_shard", "mine_mask_text_pairs", "finetune_clip"} & jobs.keys()


@pytest.fixture(scope="module")
def evaluated(project) -> Project:
    project.make("--", "all")
    return project


def _class_maps_are_those_of_the_imported_model(project, benchmarks, file, images) -> None:
    results = project.folder / "results" / project.params.recipe
    made = ("tables/main.md", "figures/seen_unseen.png", "report.html", "mlflow.json")
    assert all((results / file).stat().st_size for file in made)
    scan = Scan.from_recipe(project.recipe)
    import_foreign(scan.network, file, "scan")
    for name in benchmarks:
        with contextlib.chdir(project.folder):
            split = BenchmarkImages(project.benchmark(name) / "index.json", "val")
            classes = load_class_list(project.recipe.datasets.benchmarks[name].classes)
            # VOC with background: predicted among another list, whose other names are background.
            other = classes.predict_with
            names = load_class_list(other).names if other else classes.names
            wanted = EvaluationSettings.of_classifiers(settings_table(project.recipe).of(name))
            (folder,) = (results / "eval").glob(f"*/{name}-*/predictions/0")
            found = set()
            for classifier, key in wanted.classifiers.items():
                assert len(list((folder / classifier).iterdir())) == len(split) == images
                for number in range(images):
                    settings = wanted.settings[key]
                    expected = scan.segment(split.image(number), names, settings).class_map
                    expected = np.minimum(expected, len(classes) - 1)
                    path = folder / classifier / f"{split.stem(number)}.png"
                    assert np.array_equal(np.array(Image.open(path)), expected)
                    found |= set(np.unique(expected))
            assert len(found) > 2, "the weights tell regions apart"


def test_everything_is_made_and_the_class_maps_are_those_of_the_imported_model(evaluated):
    file = evaluated.folder / "weights/SCAN.pth"
    _class_maps_are_those_of_the_imported_model(evaluated, BENCHMARKS, file, 8)
    note = (evaluated.folder / "results/released/tables/main.md").read_text()
    assert f"`SCAN.pth` (`scan`, SHA-256 `{file_digest(file)}`)" in note
    report = (evaluated.folder / "results/released/report.html").read_text()
    assert "Weights that come from a file" in report


def test_mlflow_knows_the_file(evaluated):
    mlflow.set_tracking_uri(f"sqlite:///{evaluated.folder}/mlflow.db")
    (run,) = mlflow.search_runs(
        search_all_experiments=True, filter_string="tags.stage = 'model'", output_format="list"
    )
    digest = file_digest(evaluated.folder / "weights/SCAN.pth")
    assert run.data.tags["imported.segmenter"] == f"scan:SCAN.pth sha256:{digest}"
    (data,) = [one.dataset for one in run.inputs.dataset_inputs if one.dataset.name == "SCAN.pth"]
    assert digest.startswith(data.digest)


def test_a_release_says_which_file_its_weights_come_from(evaluated):
    release = evaluated.folder / "results/released/release"
    _, header = load_network(release / "model.safetensors")
    digest = file_digest(evaluated.folder / "weights/SCAN.pth")
    file = {"kind": "scan", "file": "SCAN.pth", "sha256": digest}
    assert header["imported"] == dict.fromkeys(("clip", "segmenter", "finetuned_clip"), file)
    card = (release / "README.md").read_text()
    assert card.count(digest) == 3


@pytest.mark.slow
def test_a_grid_of_trained_and_published_weights_equals_two_plain_runs(project):
    local = ("--profile", "local", "--config")
    tables = [f"results/{recipe}/tables" for recipe in ("trained", "fused")]
    table = "results/trained/ablations/tuned.csv"
    for recipe, targets in (("trained", [table, tables[0]]), ("fused", [tables[1]])):
        ran = project.snakemake(*local, f"recipe={recipe}", "--", *targets)
        assert ran.returncode == 0, ran.stdout
    rows = pd.read_csv(project.folder / table)
    assert len(rows) == 2 * len(BENCHMARKS)
    for source, plain in zip(("train", CS_CLIP), tables, strict=True):
        of_source = rows[rows["clip_finetune.source"].map(json.loads) == source]
        cells = of_source.set_index("benchmark")["miou"].sort_index() * 100
        expected = pd.read_csv(project.folder / plain / "combined.csv").set_index("benchmark")
        assert cells.round(2).to_dict() == expected["miou"].to_dict()
    jobs = project.jobs("--config", "recipe=fused", "--", tables[1])
    assert not jobs, "nothing is made twice"


@pytest.mark.long
def test_a_released_model_of_full_size_is_evaluated(tmp_path):
    """ViT-B/16 by the list of the release's keys, with weights that tell regions apart."""
    project = Project(tmp_path)

    def change(params):
        reduced(params)
        datasets = params["recipes"]["mini"]["datasets"]
        datasets["miniworld"]["test_images"] = 2
        for benchmark in datasets["benchmarks"].values():
            benchmark["images"]["val"] = 2
        full, weights = params["recipes"]["vitb16"], f"scan:{tmp_path}/SCAN.pth"
        params["recipes"]["full"] = {
            "extends": "mini",
            "grids": [],
            "clip": {**full["clip"], "source": weights, "pretraining": None,
                     "pretrained": "datacomp_xl_s13b_b90k"},
            "segmenter": {**full["segmenter"], "source": weights},
            "clip_finetune": {"source": weights},
            "inference": {"benchmarks": ["mini_ade_87"], "clip_weight": 0.5},
        }  # fmt: skip
        params["recipe"] = "full"

    project.edit(change)
    blank = {
        name: torch.empty(shape, dtype=getattr(torch, dtype))
        for name, (shape, dtype) in released_keys("vitB").items()
    }
    weights = {**named_weights(blank), **released_constants(blank, 171, 0.1)}
    weights["clip_adapter.clip_model.logit_scale"] = torch.tensor(4.6)
    torch.save({"model": weights}, tmp_path / "SCAN.pth")
    project.make("--", "all")
    _class_maps_are_those_of_the_imported_model(project, ["mini_ade_87"], tmp_path / "SCAN.pth", 2)


def test_an_existing_model_on_data_of_ones_own_trains_nothing(tmp_path):
    """The recipes of the guide."""
    project = Project(tmp_path)
    guide = ROOT / "docs/own_data.md"
    (block,) = [text for title, text in code_blocks(guide) if "measured:" in text and not title]
    for text in (shown_files(guide)["params.yaml"], block):
        shown = YAML(typ="safe").load(text)["recipes"]
        project.edit(lambda params, shown=shown: params["recipes"].update(shown))
    model = tmp_path / "results/mini/release/model.safetensors"
    Scan.from_recipe(project.params.recipes["mini"]).save(model)
    write_own_images(tmp_path)
    jobs = project.jobs("--config", "recipe=measured", "--", "all")
    assert not TRAININGS & jobs.keys()
    assert jobs["import_weights"] == 3
    assert jobs["convert_benchmark"] == jobs["evaluate"] == 1


# What is wrong with a file is said before anything runs, where its beginning shows it.


def _recipe(**sources):
    document = copy.deepcopy(SHIPPED)
    own = {"extends": "mini", "grids": [], "clip": {"pretraining": None}}
    for key, source in sources.items():
        own.setdefault(key, {})["source"] = source
    if "clip" not in sources:
        own["clip"] = {}
    document["recipes"]["own"] = own
    return validate(document).recipes["own"]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Files of this project and of others, with the architecture of the recipe `mini`."""
    folder = tmp_path_factory.mktemp("files")
    recipe = validate(SHIPPED).recipes["mini"]
    scan = Scan.from_recipe(recipe)
    scan.save(folder / "model.safetensors")
    save_tensors(folder / "segmenter.safetensors", segmenter_weights(scan.network), scan.header)
    save_tensors(folder / "clip.safetensors", scan.network.clip.state_dict(), {})
    wider = recipe.clip.model_dump()["architecture"] | {"embed_dim": 64}
    save_tensors(folder / "wider.safetensors", build_clip(wider).state_dict(), {})
    fewer = changed(recipe, {"segmenter.mask_decoder.queries": 7})
    other = Scan.from_recipe(fewer)
    save_tensors(folder / "fewer.safetensors", segmenter_weights(other.network), other.header)
    compiled = {f"_orig_mod.{name}": t for name, t in scan.network.clip.state_dict().items()}
    save_tensors(folder / "compiled.safetensors", compiled, {})
    whole = (folder / "clip.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[:-100])
    torch.save({"model": {"a": torch.zeros(9)}}, folder / "zeros.pth")
    (folder / "truncated.pth").write_bytes((folder / "zeros.pth").read_bytes()[:-30])
    (folder / "page.pth").write_text("<!DOCTYPE html><title>Quota exceeded</title>")
    (folder / "text.pth").write_text("weights")
    return folder


@pytest.mark.parametrize(
    ("key", "source", "words"),
    [
        ("segmenter", "scan:SCAN.pth", ["SCAN.pth is missing", "drive.google.com", "place it at"]),
        ("clip_finetune", "finetuned_clip:CS_CLIP.pt", ["CS_CLIP.pt is missing", "licence"]),
        ("segmenter", "segmenter:no.safetensors", ["is missing; expected a segmenter.safetensors"]),
        ("segmenter", "scan:page.pth", ["is a web page, not a checkpoint"]),
        ("segmenter", "scan:truncated.pth", ["is truncated"]),
        ("segmenter", "scan:text.pth", ["is no checkpoint of PyTorch"]),
        ("clip", "clip:truncated.safetensors", ["cannot be read", "download it again"]),
        ("segmenter", "model:segmenter.safetensors", ["no 'model' file", "'segmenter:"]),
        ("segmenter", "segmenter:clip.safetensors", ["no 'segmenter' file: it holds a CLIP"]),
        ("clip_finetune", "clip:model.safetensors", ["no 'clip' file", "'model:"]),
        ("segmenter", "segmenter:fewer.safetensors", ["mask_decoder.queries: 7, the recipe 20"]),
        ("clip_finetune", "clip:wider.safetensors", ["embeddings of 64", "96 and 128"]),
    ],
)
def test_a_file_that_does_not_fit_is_refused_before_anything_runs(files, key, source, words):
    kind, _, name = source.partition(":")
    (problem,) = weights_problems(_recipe(**{key: f"{kind}:{files / name}"}))
    assert all(word in problem for word in [f"{key}.source: ", *words]), problem


def test_files_that_fit_have_no_problem(files):
    for kind in ("model", "segmenter"):
        assert not list(weights_problems(_recipe(segmenter=f"{kind}:{files}/{kind}.safetensors")))
    for source in ("model:model", "clip:clip", "clip:compiled"):
        source = source.replace(":", f":{files}/") + ".safetensors"
        assert not list(weights_problems(_recipe(clip=source, clip_finetune=source)))


@pytest.mark.parametrize(
    ("stage", "source", "words"),
    [
        ("segmenter", "scan:zeros.pth", "no 'scan' checkpoint for this network"),
        ("segmenter", "scan:other_size.pth", "of another shape"),
        ("finetuned_clip", "finetuned_clip:wider.safetensors", "of another shape"),
        ("clip", "clip:code.pth", "cannot be read safely"),
    ],
)
def test_what_only_its_content_shows_is_refused_by_the_job(files, tmp_path, stage, source, words):
    torch.save({"model": {"a": Path()}}, files / "code.pth")
    recipe = _recipe()
    fewer = Scan.from_recipe(changed(recipe, {"segmenter.mask_decoder.queries": 7}))
    torch.save(to_theirs(fewer.network.state_dict(), SCAN), files / "other_size.pth")
    kind, _, name = source.partition(":")
    key = {"finetuned_clip": "clip_finetune"}.get(stage, stage)
    cell = cell_of(_recipe(**{key: f"{kind}:{files / name}"}))
    part = write_part(cell.part(stage), tmp_path)
    with pytest.raises(InputError, match=words):
        import_weights(
            [f"{kind}:{files / name}"], tmp_path / "made.safetensors", stage=stage, recipe_part=part
        )
    assert not (tmp_path / "made.safetensors").exists()


def test_a_grid_over_a_training_that_does_not_happen_is_refused(files):
    recipe = _recipe(segmenter=f"segmenter:{files}/segmenter.safetensors")
    grid = {"seeds": [0], "vary": {"segmenter.training.steps": [1, 2]}}
    with pytest.raises(InputError, match=r"'segmenter\.training\.steps' belongs to a training"):
        check_grid("steps", recipe, Ablation.model_validate(grid))
    tuned = {"seeds": [0], "vary": {"clip_finetune.epochs": [1, 2], "inference.clip_weight": [0]}}
    check_grid("epochs", recipe, Ablation.model_validate(tuned))


def test_the_content_of_a_file_counts_and_neither_its_place_nor_a_training(files, tmp_path):
    def names(path, **changes):
        known.cache_clear()
        return cell_of(changed(_recipe(segmenter=f"segmenter:{path}"), changes)).names

    first = files / "segmenter.safetensors"
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(first.read_bytes())
    assert names(first) == names(moved)
    steps = {"segmenter.training.steps": 3}
    assert names(first)["segmenter"] == names(first, **steps)["segmenter"]
    assert names(first)["segmenter"] == names(first, **{"segmenter.loss.points": 3})["segmenter"]
    assert names(first)["segmenter"] != names(files / "fewer.safetensors")["segmenter"]


def test_a_training_can_start_from_weights(files):
    recipe = _recipe()
    start = f"segmenter:{files}/segmenter.safetensors"
    started = changed(recipe, {"segmenter.initial_weights": start})
    assert cell_of(started).names["segmenter"] != cell_of(recipe).names["segmenter"]
    torch.manual_seed(3)
    network = Scan.from_recipe(recipe).network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    architecture = architecture_of(recipe.segmenter, recipe.clip)
    start_from(network, files / "segmenter.safetensors", "segmenter", architecture)
    expected, _ = load_tensors(files / "segmenter.safetensors")
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected.get(name, before[name])), name
