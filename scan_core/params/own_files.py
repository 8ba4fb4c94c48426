"""What a person's own files hold: by content (files), or by names, sizes and times (folders)."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from scan_core.storage.files import file_digest, files_below, json_digest, write_text

# What a run knows of a person's own files, for its jobs, whose processes read the workflow again.
_KNOWN = "SCAN_OWN_FILES"
# Of Snakemake, where digests of files outlive a run.
_MEMORY = Path(".snakemake/params")


@cache
def known(path: str) -> str | None:
    """What a person's own file or folder holds, as a hash; None: it is not there.

    A run looks once: its jobs find the answer in their environment.
    """
    answers: dict[str, str | None] = json.loads(os.environ.get(_KNOWN) or "{}")
    if path not in answers:
        file = _digest(Path(path)) if Path(path).is_file() else None
        answers[path] = json_digest(sorted(_listing(Path(path)))) if Path(path).is_dir() else file
        os.environ[_KNOWN] = json.dumps(answers)
    return answers[path]


def _digest(file: Path) -> str:
    """A file's digest, which is read again where its size or time is another one."""
    about = file.stat()
    state = [about.st_size, about.st_mtime_ns]
    remembered = _MEMORY / "digests" / f"{json_digest(str(file.resolve()))[:16]}.json"
    with suppress(OSError, ValueError, TypeError):  # not read before
        known_state, digest = json.loads(remembered.read_text(encoding="utf-8"))
        if known_state == state:
            return str(digest)
    digest = file_digest(file)
    if _MEMORY.is_dir():
        write_text(remembered, json.dumps([state, digest]))
    return digest


def _listing(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of change of every file below a folder; links are followed."""
    for path in files_below(folder):
        with suppress(OSError):  # a link to nowhere
            about = path.stat()
            yield path.relative_to(folder).as_posix(), about.st_size, about.st_mtime_ns
