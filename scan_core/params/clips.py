"""open_clip's models by name: which of them can be a recipe's CLIP, and why the others cannot.

Read from the files that come with open_clip; the library itself, which is slow to import, is not
needed.
"""

import ast
import difflib
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scan_core.errors import InputError

# What describes a plain vision transformer with a [CLS] token and a plain causal text transformer.
_PLAIN = {
    "embed_dim": None,
    "quick_gelu": None,
    "custom_text": None,
    "vision_cfg": {
        *("image_size", "patch_size", "width", "layers", "head_width", "mlp_ratio"),
        *("timm_model_name", "timm_model_pretrained", "timm_pool", "timm_proj"),
    },
    "text_cfg": {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"},
}
# EVA's image towers, which have a [CLS] token: patch size, blocks, width, which no file says.
_EVA = {
    "eva_giant_patch14_224": (14, 40, 1408),
    "eva02_base_patch16_clip_224": (16, 12, 768),
    "eva02_large_patch14_clip_224": (14, 24, 1024),
    "eva02_large_patch14_clip_336": (14, 24, 1024),
    "eva02_enormous_patch14_clip_224": (14, 64, 1792),
}


@cache
def clip_models() -> dict[str, Path]:
    """Model name -> its JSON file, of the open_clip that is installed; empty without one."""
    found = find_spec("open_clip")
    folders = list(found.submodule_search_locations or ()) if found else []
    files = sorted(Path(folders[0], "model_configs").glob("*.json")) if folders else []
    return {path.stem: path for path in files}


@cache
def pretrained_tags() -> dict[str, list[str]]:
    """Model name -> tags of its weights, but for the names `...-quickgelu`; needs open_clip."""
    table_file = next(iter(clip_models().values())).parents[1] / "pretrained.py"
    named = {
        target.id: node.value
        for node in ast.parse(table_file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    table: Any = named["_PRETRAINED"]
    found = {}
    for key, value in zip(table.keys, table.values, strict=True):
        tags: Any = named[value.id] if isinstance(value, ast.Name) else value
        found[key.value] = [keyword.arg for keyword in tags.keywords]
    return found


@cache
def described(name: str) -> dict[str, Any]:
    """open_clip's description of a model, for an EVA with the dimensions of its image tower."""
    config: dict[str, Any] = json.loads(clip_models()[name].read_text(encoding="utf-8"))
    if eva := _EVA.get(config["vision_cfg"].get("timm_model_name")):
        config["vision_cfg"] |= zip(("patch_size", "layers", "width"), eva, strict=True)
    return config


def unusable(name: str) -> str | None:
    """Why a model cannot be a recipe's CLIP; None if it can."""
    config = described(name)
    vision, text = config["vision_cfg"], config["text_cfg"]
    timm = vision.get("timm_model_name")
    if timm and timm not in _EVA:
        if vision.get("timm_pool") == "map":
            return f"its image tower ({timm} of timm) has no [CLS] token but attention pooling"
        return f"its image tower is {timm} of timm, neither open_clip's vision transformer nor EVA"
    if isinstance(vision["layers"], list):
        return "its image tower is a ResNet, without tokens and [CLS]"
    if "multimodal_cfg" in config:
        return "it is a CoCa, whose towers carry tokens for captioning"
    if vision.get("pool_type", "tok") != "tok":
        return "its image feature is the mean over the patches, not the [CLS] token"
    if tower := text.get("hf_model_name"):
        return f"its text tower is {tower} of Hugging Face"
    if tokenizer := text.get("hf_tokenizer_name"):
        return f"its tokenizer is that of {tokenizer}, not CLIP's"
    for block, plain in _PLAIN.items():
        if plain and (strange := sorted(config[block].keys() - plain)):
            return f"its {block} has {', '.join(strange)}, which SCAN's forward pass does not know"
    if strange := sorted(config.keys() - _PLAIN.keys()):
        return f"its description has {', '.join(strange)}, which SCAN does not know"
    return None


def clip_config(name: str) -> dict[str, Any]:
    """The dimensions of a model that can be a recipe's CLIP, as open_clip's file has them.

    Raises:
        InputError: unknown name, a model that cannot be used, or open_clip is not installed.
    """
    models = clip_models()
    if not models:
        raise InputError(
            "models by open_clip's names need open_clip: pip install 'scan-pipeline[models]'"
        )
    if name not in models:
        usable = [model for model in models if unusable(model) is None]
        near = difflib.get_close_matches(name.replace("/", "-"), usable, n=3, cutoff=0.5)
        near = near or [model for model in usable if model.endswith("-14")][:3]
        raise InputError(
            f"open_clip has no model '{name}'; near it are {', '.join(near)}. docs/clips.md lists "
            "those that can be used"
        )
    if reason := unusable(name):
        raise InputError(
            f"CLIP '{name}' cannot be used: {reason}. SCAN needs a plain vision transformer with a "
            "[CLS] token, such as ViT-B-16, ViT-L-14 or EVA02-L-14; docs/clips.md lists them"
        )
    return described(name)
