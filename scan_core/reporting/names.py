"""What people read in place of the keys of files: metrics, ways to classify, keys of a recipe."""

# Metric -> its name in tables and figures.
METRIC_NAMES = {
    "miou": "mIoU",
    "miou_d2_v06": "mIoU (d2 v0.6)",
    "sg_iou": "SG-IoU",
    "miou_seen": "mIoU, seen",
    "miou_unseen": "mIoU, unseen",
    "miou_d2_v06_seen": "mIoU (d2 v0.6), seen",
    "miou_d2_v06_unseen": "mIoU (d2 v0.6), unseen",
    "fwiou": "fwIoU",
    "macc": "mAcc",
    "pacc": "pAcc",
}
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
    return METRIC_NAMES.get(metric, metric)


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
