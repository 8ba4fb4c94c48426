"""What leaves the project: weights, a model card, the recipe, the data's manifest, checksums."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from safetensors import SafetensorError, safe_open

from scan_core.errors import InputError
from scan_core.params.resolution import settings_table
from scan_core.params.schema.recipe import Recipe
from scan_core.reporting.reading import read_text
from scan_core.reporting.results import Evaluation
from scan_core.reporting.tables.result_tables import main_table
from scan_core.storage.atomic import write_text
from scan_core.storage.records import read_record
from scan_core.storage.tensors import copy_with_header

WEIGHTS, CARD, RECIPE = "model.safetensors", "README.md", "params.yaml"
MANIFEST, CHECKSUMS = "dataset_manifest.json", "SHA256SUMS"


def write_release(
    model: Path,
    recipe: Mapping[str, Any],
    manifest: Path,
    evaluations: Sequence[Evaluation],
    folder: Path,
) -> None:
    """Put a release together. Every file is a copy of its own: nothing else shares its bytes.

    The weights' header holds the settings with which the model was evaluated on each benchmark, so
    that whoever loads it gets the numbers of the tables.

    Args:
        model: made by `fuse_weights`.
        recipe: resolved, in the form of `params.yaml`.
        manifest: of the recipe's datasets.
        evaluations: of the model.
        folder: where to write, each file atomically.

    Raises:
        InputError: the model or the manifest cannot be read.
    """
    header, weights = _describe_weights(model)
    header["test_settings"] = settings_table(_recipe_of(recipe)).as_dict()
    copy_with_header(model, folder / WEIGHTS, header)
    write_text(folder / MANIFEST, read_text(manifest))
    write_text(folder / RECIPE, as_yaml(recipe))
    digest = _sha256(folder / WEIGHTS)
    try:
        data = read_record(manifest)
        card = model_card(recipe, header, weights, digest, data, evaluations)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{manifest} or the header of {model} is damaged ({type(error).__name__}: {error}); "
            "delete it, and it is made again"
        ) from None
    write_text(folder / CARD, card)
    names = (WEIGHTS, CARD, RECIPE, MANIFEST)
    sums = [f"{_sha256(folder / name)}  {name}" for name in names]
    write_text(folder / CHECKSUMS, "\n".join(sums) + "\n")


def _recipe_of(document: Mapping[str, Any]) -> Recipe:
    return Recipe.model_validate(document["recipes"][document["recipe"]])


def as_yaml(document: Mapping[str, Any]) -> str:
    """YAML 1.2, in the order of the document."""
    text = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(dict(document), text)
    return text.getvalue()


def model_card(
    recipe: Mapping[str, Any],
    header: Mapping[str, Any],
    weights: int,
    digest: str,
    data: Mapping[str, Any],
    evaluations: Sequence[Evaluation],
) -> str:
    """The model card, as Markdown with the front matter that model hubs read.

    Args:
        recipe: resolved.
        header: of the checkpoint.
        weights: number of its parameters.
        digest: SHA-256 of the file.
        data: the dataset manifest.
        evaluations: of the model.
    """
    name = recipe["recipe"]
    settings = recipe["recipes"][name]
    training = settings["datasets"]["train"]
    clip, backbone = settings["clip"], settings["segmenter"]["backbone"]["weights"]
    architecture = clip["architecture"]
    steps, epochs = settings["segmenter"]["training"]["steps"], settings["clip_finetune"]["epochs"]
    small = isinstance(architecture, dict)
    versions = ", ".join(f"{package} {number}" for package, number in header["versions"].items())
    lines = [
        "---",
        "pipeline_tag: image-segmentation",
        "tags: [open-vocabulary-segmentation, semantic-segmentation, CLIP, SCAN]",
        "---",
        "",
        f"# SCAN, recipe `{name}`",
        "",
        "Segments an image by any list of class names"
        " ([SCAN](https://arxiv.org/abs/2312.04089), CVPR 2024).",
        *(["It knows the miniature world alone, no photographs."] if small else []),
        "",
        "## How to load it",
        "",
        "    from scan_core.inference.scan import Scan",
        "",
        f'    scan = Scan.from_checkpoint("{WEIGHTS}")',
        '    result = scan.segment("picture.jpg", ["sky", "sea", "red ball"])',
        "    result.class_map    # (height, width): an index of the names for every pixel",
        "",
        "The file holds the test-time settings of the tables below: one for each benchmark"
        " (`scan.settings_table.of(name)`) and a default, which `scan.segment` uses:",
        "",
        f"    {json.dumps(header['test_settings']['default'])}",
        "",
        "## What it was trained on",
        "",
        f"- Segmenter: `{training}`, {_images(data, training, 'train')} images, {steps} steps; "
        f"backbone weights: `{backbone}`.",
        f"- CLIP: `{clip['source']}`, {'a small one' if small else architecture}; fine-tuned with "
        f"masks for {epochs} {'epoch' if epochs == 1 else 'epochs'}.",
        f"- Data source: `{data['source']}`; manifest `{data['hash']}`, in `{MANIFEST}`.",
        "",
        *(f"#{line}" if line.startswith("# ") else line for line in _numbers(evaluations)),
        "",
        "## Where it comes from",
        "",
        "| | |",
        "| --- | --- |",
        f"| parameters | {weights:,} |",
        f"| SHA-256 of `{WEIGHTS}` | `{digest}` |",
        f"| git commit | {_code(header['commit'])} |",
        f"| made with | {versions} |",
        f"| seed | {header['seed']} |",
        f"| recipe | `{RECIPE}`: takes the place of the project's file of that name |",
        "",
        f"`sha256sum --check {CHECKSUMS}` checks all files of this folder. Datasets and CLIP's "
        "weights carry their own terms.",
    ]
    return "\n".join(lines) + "\n"


def _numbers(evaluations: Sequence[Evaluation]) -> list[str]:
    images = ", ".join(f"`{e.benchmark}` {e.images}" for e in evaluations)
    return [*main_table(evaluations).markdown().splitlines(), "", f"Images: {images}."]


def _images(data: Mapping[str, Any], benchmark: str, split: str) -> int:
    images: int = data["benchmarks"][benchmark]["splits"][split]["images"]
    return images


def _code(commit: str | None) -> str:
    return f"`{commit}`" if commit else "made outside of a checkout"


def _describe_weights(model: Path) -> tuple[dict[str, Any], int]:
    """Header and number of parameters, without reading the weights."""
    try:
        with safe_open(model, framework="numpy") as file:
            header: dict[str, Any] = json.loads((file.metadata() or {})["scan"])
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{model} is no checkpoint of this project ({type(error).__name__}: {error}); "
            "make it again"
        ) from None
    return header, sum(math.prod(shape) for shape in shapes)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
