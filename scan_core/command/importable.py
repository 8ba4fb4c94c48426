"""Where the commands of the rules find the project's modules."""

import os
from pathlib import Path


def make_importable(root: Path) -> None:
    """Let processes that are started from here on import what lies in `root`.

    `python -m workflow_scripts.x` finds its module in the working directory, which need not be the
    project's.

    Args:
        root: the project's root.
    """
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if str(root) not in others:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(root), *others])
