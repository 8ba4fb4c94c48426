"""Where a result comes from: versions, commit, data."""

import hashlib
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "open_clip_torch", "numpy")


def provenance(manifest: Path) -> dict[str, Any]:
    """Versions, git commit and the hash of the data manifest, for the header of a checkpoint.

    Args:
        manifest: the recipe's dataset manifest.
    """
    return {
        "versions": {name: version(name) for name in _PACKAGES},
        "commit": checked_out_commit(),
        "data": hashlib.sha256(manifest.read_bytes()).hexdigest(),
    }


def checked_out_commit() -> str | None:
    """The checked-out commit; None outside of a checkout."""
    root = Path(__file__).parent
    git = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
