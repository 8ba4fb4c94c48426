"""open_clip's models by name: which of them can be a recipe's CLIP, and why the others cannot.

Read from the JSON files that come with open_clip; the library itself, which is slow to import, is
not needed.
"""

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
    "vision_cfg": {"image_size", "patch_size", "width", "layers", "head_width", "mlp_ratio"},
    "text_cfg": {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"},
}


@cache
def clip_models() -> dict[str, Path]:
    """Model name -> its JSON file, of the open_clip that is installed; empty without one."""
    found = find_spec("open_clip")
    folders = list(found.submodule_search_locations or ()) if found else []
    files = sorted(Path(folders[0], "model_configs").glob("*.json")) if folders else []
    return {path.stem: path for path in files}


@cache
def described(name: str) -> dict[str, Any]:
    """open_clip's description of a model."""
    config: dict[str, Any] = json.loads(clip_models()[name].read_text(encoding="utf-8"))
    return config


def unusable(name: str) -> str | None:
    """Why a model cannot be a recipe's CLIP; None if it can."""
    config = described(name)
    vision, text = config["vision_cfg"], config["text_cfg"]
    if timm := vision.get("timm_model_name"):
        if vision.get("timm_pool") == "map":
            return f"its image tower ({timm} of timm) has no [CLS] token but attention pooling"
        return f"its image tower is {timm} of timm, not open_clip's vision transformer"
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
            "[CLS] token, such as ViT-B-16 or ViT-L-14; docs/clips.md lists them"
        )
    return described(name)
