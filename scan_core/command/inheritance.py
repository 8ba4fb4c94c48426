"""What a temporary copy of the project takes over from the workspace, so as not to start anew.

`dvc exp run --temp` works in a folder that holds what git holds. Everything else that the workflow
has made is taken over with Snakemake's records of it, so that Snakemake runs again what the
experiment changes and nothing else. The workspace cannot be changed from there: results are
copied, or are hard links where they are large, and so is all data; commands of the workflow replace
such files and never write into them.
"""

import logging
import os
import shutil
from pathlib import Path

_RECORDS = ("metadata", "incomplete", "params")  # in .snakemake
_LARGEST_COPY = 1_000_000  # bytes
# What is not complete, and what commands go on writing into: folders, and ends of names.
_UNFINISHED_FOLDERS, _UNFINISHED_FILES = ("work",), (".part", ".lock")


def inherit(workspace: Path, here: Path) -> bool:
    """Take over what the workspace has made, as far as it is not there already.

    Args:
        workspace: root of the project.
        here: root of the temporary copy.

    Returns:
        whether something was taken over: not where a workflow runs in the workspace, none has run,
        or the two lie on different file systems.
    """
    records = workspace / ".snakemake"
    if not (records / "metadata").is_dir() or (here / ".snakemake/metadata").exists():
        return False
    if any((records / "locks").glob("*")):
        logging.warning("a workflow runs in %s: this experiment starts from scratch", workspace)
        return False
    if workspace.stat().st_dev != here.stat().st_dev:
        logging.warning("%s is on another file system: starting from scratch", workspace)
        return False
    _take(workspace / "data", here / "data", largest_copy=0)
    _take(workspace / "results", here / "results", _LARGEST_COPY)
    for name in _RECORDS:  # last: without a record, what is there is made again
        _take(records / name, here / ".snakemake" / name, _LARGEST_COPY)
    return True


def _take(source: Path, target: Path, largest_copy: int) -> None:
    for folder, inner, files in os.walk(source):
        inner[:] = [name for name in inner if name not in _UNFINISHED_FOLDERS]
        made = target / Path(folder).relative_to(source)
        made.mkdir(parents=True, exist_ok=True)
        for name in files:
            old, new = Path(folder, name), made / name
            if new.exists() or new.is_symlink() or name.endswith(_UNFINISHED_FILES):
                continue
            if old.stat().st_size > largest_copy:
                new.hardlink_to(old)
            else:
                shutil.copy2(old, new)
    for folder, _, _ in os.walk(target, topdown=False):
        if (original := source / Path(folder).relative_to(target)).is_dir():
            shutil.copystat(original, folder)
