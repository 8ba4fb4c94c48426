"""What people read in place of the keys of files: metrics, ways to classify, keys of a recipe."""

from scan_core.params.metric_names import METRICS

# Key path of a recipe -> its name, where the last word of the path does not say enough.
_KEY_NAMES = {
    "clip.source": "source of CLIP",
    "clip_finetune.contextual_shift": "contextual shift",
    "inference.clip_weight": "ensemble weight of CLIP",
    "inference.prompts": "prompt templates",
    "segmenter.semantic_integration.clip_layers": "CLIP layers for semantic integration",
    "segmenter.semantic_integration.enabled": "semantic integration",
    "segmenter.semantic_integration.sigmas": "σ of the low-pass filter",
    "segmenter.training.steps": "training steps",
}
_VALUES = {"true": "on", "false": "off"}


def metric_name(metric: str) -> str:
    """A metric's name; that of one without a name is its key."""
    return METRICS[metric].name if metric in METRICS else metric


def key_name(path: str) -> str:
    """A recipe's key, such as `inference.mask_threshold`, in words: `mask threshold`."""
    return _KEY_NAMES.get(path) or path.rpartition(".")[2].replace("_", " ")


def value_name(value: str) -> str:
    """A varied value, given as JSON without quotation marks, as people read it."""
    return _VALUES.get(value, value)


def capitalised(words: str) -> str:
    """Words that begin a label or a heading; `mIoU` and `σ` stay as they are."""
    first, _, rest = words.partition(" ")
    plain = first.islower() and first.isascii()
    return f"{first.capitalize()} {rest}".strip() if plain else words
