"""Files of weights: where published ones are to be had, and what a file says before it is read.

PyTorch is not needed: whatever can be known from the beginning of a file, and from the header of a
safetensors file, is said before anything runs. The rest the import says; see `models.checkpoints`.
"""

import json
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

# Of the parts of an architecture, what a training alone reads.
_OF_TRAINING = {"drop_path", "dropout"}


@cache
def published() -> Mapping[str, Mapping[str, Any]]:
    """File name -> kind, architecture, size in GB, SHA-256, page, licence (null: not known)."""
    found: Mapping[str, Any] = YAML(typ="safe").load(Path(__file__).with_name(_PUBLISHED))
    return found


_PUBLISHED = "published_weights.yaml"


def weights_problems(recipe: Recipe) -> Iterator[str]:
    """What is wrong with the files of weights that a recipe names, a line each with the key."""
    sources = {
        "clip.source": recipe.clip.source,
        "segmenter.source": recipe.segmenter.source,
        "clip_finetune.source": recipe.clip_finetune.source,
    }
    if "segmenter" not in recipe.imported:
        sources["segmenter.initial_weights"] = recipe.segmenter.initial_weights
    for key, source in sources.items():
        if file := weights_file(source):
            kind, path = file[0], Path(file[1])
            try:
                _check(recipe, key, kind, path)
            except InputError as error:
                yield f"{key}: {error}"


def _check(recipe: Recipe, key: str, kind: str, path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path} is missing; expected {WEIGHTS_HOLD[kind]}.{_where(path)}")
    with path.open("rb") as file:
        start = file.read(16)
    if path.suffix == ".safetensors":
        tensors, header = _safetensors(path)
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
            f"{path} is truncated: PyTorch's file has no end. Copy or download it again"
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


def _safetensors(path: Path) -> tuple[dict[str, list[int]], dict[str, Any]]:
    """Shapes by name, and the header of this project's files."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= path.stat().st_size:
                raise ValueError("its beginning does not say how long the header is")
            header: dict[str, Any] = json.loads(file.read(length))
        about = header.pop("__metadata__", {})
        ends = [tensor["data_offsets"][1] for tensor in header.values()]
        if 8 + length + max(ends, default=0) != path.stat().st_size:
            raise ValueError("it is truncated")
        shapes = {name: tensor["shape"] for name, tensor in header.items()}
        return shapes, json.loads(about.get("scan", "{}"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read as a safetensors file ({error}); copy or download it again"
        ) from None


def _check_names(kind: str, path: Path, tensors: Mapping[str, Any]) -> None:
    beginnings = {name.partition(".")[0] for name in tensors}
    found = (
        ("model" if "clip" in beginnings else "segmenter")
        if "proposal_network" in beginnings
        else "clip"
        if "visual" in beginnings
        else None
    )
    ours = ("model", "segmenter", "clip")
    if (kind in ours or found in ours) and found != kind and (kind, found) != _ALSO:
        held = f"it holds {WEIGHTS_HOLD[found]}" if found else "its tensors have other names"
        advice = f": name it as '{found}:{path}'" if found else ""
        raise InputError(
            f"{path} is no '{kind}' file: {held}. Expected {WEIGHTS_HOLD[kind]}{advice}"
        )


# A fine-tuned CLIP that open_clip saved is a CLIP by open_clip's names.
_ALSO = ("finetuned_clip", "clip")


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
    if isinstance(clip.architecture, ClipArchitecture):
        expected = [clip.architecture.vision_width, clip.architecture.embed_dim]
        name = "the recipe's clip.architecture"
    else:
        config = clip_config(clip.architecture)
        expected, name = [config["vision_cfg"]["width"], config["embed_dim"]], clip.architecture
    if projection != expected:
        raise InputError(
            f"{path}: its CLIP has {projection[0]} channels and embeddings of {projection[1]}, "
            f"{name} {expected[0]} and {expected[1]}. Take a file of the recipe's architecture, or "
            "change clip.architecture"
        )
