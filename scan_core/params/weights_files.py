"""Files of weights: where published ones are to be had, and what a file says before it is read.

PyTorch is not needed: whatever can be known from the beginning of a file, and from the header of a
safetensors file, is said before anything runs. The rest the import says; see `models.checkpoints`.
"""

import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from scan_core.errors import InputError
from scan_core.params.clips import clip_config
from scan_core.params.schema.clip import Clip, ClipArchitecture
from scan_core.params.schema.fields import WEIGHTS_HOLD, weights_file
from scan_core.params.schema.recipe import Recipe
from scan_core.storage.files import read_header

# Of the parts of an architecture, what a training alone reads.
_OF_TRAINING = {"drop_path", "dropout"}
# Stage -> its block of a recipe, where that has another name.
_BLOCK = {"finetuned_clip": "clip_finetune"}
# Kind -> how names of tensors begin in files of this project, the most complete kind first.
_PARTS = {
    "model": {"proposal_network", "clip"},
    "segmenter": {"proposal_network"},
    "clip": {"visual"},
}


@cache
def published() -> Mapping[str, Mapping[str, Any]]:
    """File name -> kind, architecture, size in GB, SHA-256, page, licence (null: not known)."""
    path = Path(__file__).with_name("published_weights.yaml")
    found: Mapping[str, Any] = YAML(typ="safe").load(path)
    return found


def weights_problems(recipe: Recipe) -> Iterator[str]:
    """What is wrong with the files of weights that a recipe names, a line each with its keys."""
    files = {f"{_BLOCK.get(stage, stage)}.source": of for stage, of in recipe.imported.items()}
    start = weights_file(recipe.segmenter.initial_weights)
    if start and "segmenter" not in recipe.imported:
        files["segmenter.initial_weights"] = start
    problems: dict[str, list[str]] = {}
    for key, (kind, path) in files.items():
        try:
            _check(recipe, key, kind, Path(path))
        except InputError as error:
            problems.setdefault(str(error), []).append(key)
    for problem, keys in problems.items():
        yield f"{', '.join(keys)}: {problem}"


def _check(recipe: Recipe, key: str, kind: str, path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path} is missing; expected {WEIGHTS_HOLD[kind]}.{_where(path)}")
    with path.open("rb") as file:
        start = file.read(16)
    if path.suffix == ".safetensors":
        tensors, header = read_header(path, "copy or download it again")
        _check_names(kind, path, tensors)
        if kind in ("segmenter", "model"):
            _check_segmenter(recipe, path, header)
        if kind != "segmenter" and not key.startswith("segmenter."):
            _check_clip(recipe.clip, path, tensors)
    elif start.lstrip()[:1] == b"<":
        raise InputError(
            f"{path} is a web page, not a checkpoint: what a browser shows of large files before "
            f"they are downloaded.{_where(path)}"
        )
    elif start[:2] == b"PK" and not zipfile.is_zipfile(path):
        raise InputError(
            f"{path} is truncated: PyTorch's file has no end. Copy or download it again."
            f"{_where(path)}"
        )
    elif start[:2] not in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise InputError(
            f"{path} is no checkpoint of PyTorch, nor a .safetensors file; expected "
            f"{WEIGHTS_HOLD[kind]}"
        )


def _where(path: Path) -> str:
    """Where a file is to be had, for messages; empty for files that are not known."""
    one = published().get(path.name)
    if one is None:
        return ""
    size = f", about {one['approximate_gb']} GB" if one["approximate_gb"] else ""
    return (
        f" {path.name} ({one['holds']}{size}; licence: {one['licence']}) is offered on "
        f"{one['page']}, a page for a browser. Download it and place it at {path}."
    )


def _check_names(kind: str, path: Path, tensors: Mapping[str, Any]) -> None:
    beginnings = {name.partition(".")[0] for name in tensors}
    found = next((kind for kind, parts in _PARTS.items() if parts <= beginnings), None)
    # A fine-tuned CLIP that open_clip saved is a CLIP by open_clip's names.
    if (kind in _PARTS or found) and found != kind and (kind, found) != ("finetuned_clip", "clip"):
        held = f"it holds {WEIGHTS_HOLD[found]}" if found else "its tensors have other names"
        advice = f": name it as '{found}:{path}'" if found else ""
        raise InputError(
            f"{path} is no '{kind}' file: {held}. Expected {WEIGHTS_HOLD[kind]}{advice}"
        )


def _check_segmenter(recipe: Recipe, path: Path, header: Mapping[str, Any]) -> None:
    architecture = header.get("architecture", {})
    for part in ("backbone", "pixel_decoder", "mask_decoder", "semantic_integration"):
        own = getattr(recipe.segmenter, part).model_dump(exclude={"weights"})
        for key, expected in own.items():
            found = architecture.get(part, {}).get(key, expected)
            if found != expected and key not in _OF_TRAINING:
                raise InputError(
                    f"{path} is of another architecture: it has segmenter.{part}.{key}: {found}, "
                    f"the recipe {expected}. Take the recipe that it was trained with"
                )


def _check_clip(clip: Clip, path: Path, tensors: Mapping[str, list[int]]) -> None:
    found = {name.rpartition("visual.")[2]: shape for name, shape in tensors.items()}
    projection = found.get("proj") or found.get("trunk.head.weight", [])[::-1]
    if not projection:
        raise InputError(
            f"{path}: its CLIP has no vision transformer with a [CLS] token, which "
            "SCAN needs; docs/clips.md lists the models that have"
        )
    if isinstance(own := clip.architecture, ClipArchitecture):
        expected, name = [own.vision_width, own.embed_dim], "the recipe's clip.architecture"
    else:
        config = clip_config(own)
        expected, name = [config["vision_cfg"]["width"], config["embed_dim"]], own
    if projection != expected:
        raise InputError(
            f"{path}: its CLIP has {projection[0]} channels and embeddings of {projection[1]}, "
            f"{name} {expected[0]} and {expected[1]}. Take a file of the recipe's architecture, or "
            "change clip.architecture"
        )
