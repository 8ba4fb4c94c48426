"""A long work's results so far: what a killed process has made is not made again."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scan_core.storage.full_disk import room_for


class Journal:
    """Entries in the order in which they were made, each on disk as soon as it is added.

    Args:
        path: of the file. One that was cut off in the middle of an entry ends before it; one of
            another identity begins anew.
        identity: what the entries depend on, JSON.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.entries: list[Any] = []
        first = json.dumps(identity, sort_keys=True)
        length = self._read(first)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("r+b" if length else "wb")
        self._file.truncate(length)
        self._file.seek(length)
        if not length:
            self._write(first)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, entry: Any) -> None:
        """Keep one more.

        Args:
            entry: JSON.

        Raises:
            DiskFullError: there is no space for it.
        """
        self._write(json.dumps(entry))
        self.entries.append(entry)

    def remove(self) -> None:
        """Delete the file: the result is kept elsewhere."""
        self.path.unlink(missing_ok=True)

    def _read(self, first: str) -> int:
        """Read the entries that are there; the length of what is whole, in bytes."""
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return 0
        if not lines or lines[0] != f"{first}\n".encode():
            return 0
        length = len(lines[0])
        for line in lines[1:]:
            try:
                entry = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            self.entries.append(entry)
            length += len(line)
        return length

    def _write(self, line: str) -> None:
        with room_for(self.path, kept="what is made so far"):
            self._file.write(f"{line}\n".encode())
            self._file.flush()
