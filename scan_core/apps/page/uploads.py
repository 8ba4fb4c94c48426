"""The files that visitors have uploaded: in a folder of this server alone, each known to its owner.

A request names files by path, and whoever sends it can write any path. Only what is listed here is
read.
"""

import hashlib
import secrets
import stat
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from PIL import Image

MOST_BYTES = 40_000_000  # of an upload
MOST_BYTES_TOGETHER = 1_000_000_000  # of all that is kept; then the oldest is forgotten


class Uploads:
    """Who has uploaded what.

    Args:
        folder: where the server keeps files; nobody else writes or reads there.
        examples: images that every visitor may use.
    """

    def __init__(self, folder: Path, examples: Iterable[Image.Image] = ()) -> None:
        self.folder = folder.resolve()
        self.examples = [self._save(image, number) for number, image in enumerate(examples)]
        self._examples = {_digest(path) for path in self.examples}
        self._owners: dict[Path, set[str]] = {}
        self._lock = threading.Lock()

    @classmethod
    def in_private_folder(cls, examples: Iterable[Image.Image] = ()) -> "Uploads":
        """In a new folder that only this user of the machine can look into."""
        return cls(Path(tempfile.mkdtemp(prefix="scan-page-")), examples)

    def _save(self, image: Image.Image, number: int) -> Path:
        path = self.folder / "examples" / f"{number + 1}.png"
        path.parent.mkdir(exist_ok=True)
        image.save(path)
        return path

    def add(self, paths: Iterable[str], visitor: str) -> None:
        """Note what a visitor has uploaded, and forget the oldest files if there are too many."""
        with self._lock:
            for path in paths:
                self._owners.setdefault(Path(path).resolve(), set()).add(visitor)
            self._forget_the_oldest()

    def is_readable(self, name: object, visitor: str) -> bool:
        """Whether a file is this visitor's own, or an example."""
        if not isinstance(name, str) or "\0" in name:
            return False
        path = Path(name).resolve()
        if not path.is_relative_to(self.folder) or not path.is_file():
            return False
        with self._lock:
            owners = self._owners.get(path)
        if owners is not None:
            return visitor in owners
        return _digest(path) in self._examples

    def is_shown(self, name: str, visitor: str) -> bool:
        """Whether a file may be looked at: also results, whose names nobody can guess."""
        path = Path(name).resolve()
        if not path.is_relative_to(self.folder):
            return False
        with self._lock:
            return visitor in self._owners.get(path, {visitor})

    def _forget_the_oldest(self) -> None:
        kept = []
        for path in self.folder.rglob("*"):
            with suppress(FileNotFoundError):  # the server moves files of others meanwhile
                status = path.stat()
                if stat.S_ISREG(status.st_mode):
                    kept.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= MOST_BYTES_TOGETHER:
                break
            if path not in self.examples:
                path.unlink(missing_ok=True)
                total -= size
        self._owners = {path: owners for path, owners in self._owners.items() if path.is_file()}


def new_visitor() -> str:
    """A name that nobody can guess."""
    return secrets.token_urlsafe(24)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
