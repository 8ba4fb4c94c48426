"""Prompt templates: the sentences into which a class name is put."""

import json
from pathlib import Path

from scan_core.errors import InputError

_FILE = Path(__file__).parent / "prompt_templates.json"


def prompt_templates(name: str) -> tuple[str, ...]:
    """A template set.

    Args:
        name: `vild` (14 templates, what SCAN uses), `imagenet` (CLIP's 80) or `single`.

    Returns:
        sentences with `{}` where the class name goes.

    Raises:
        InputError: unknown name.
    """
    sets = json.loads(_FILE.read_text(encoding="utf-8"))
    if name not in sets:
        raise InputError(f"prompt templates '{name}' are unknown; there are {', '.join(sets)}")
    return tuple(sets[name])
