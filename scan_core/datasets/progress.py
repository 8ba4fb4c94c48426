"""What a conversion has done, so that the next one goes on after a kill without looking at it."""

import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scan_core.storage.full_disk import room_for


@dataclass(frozen=True)
class Converted:
    """One converted image.

    Attributes:
        width: pixels.
        height: pixels.
        label_sha256: of the file of its label map, hexadecimal.
        label_bytes: size of that file.
        image_sha256: of the file of the image.
        skipped: why the image is left out of the benchmark; None: it is in.
    """

    width: int = 0
    height: int = 0
    label_sha256: str = ""
    label_bytes: int = 0
    image_sha256: str = ""
    skipped: str | None = None


class Progress:
    """A file with a line for each image that is done.

    A line is written when the image's files are complete, so that a start costs no more than
    reading the file, however often a conversion is killed.

    Args:
        path: of the file; made if missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done = dict(_lines(path)) if path.is_file() else {}

    def add(self, stem: str, converted: Converted) -> None:
        """Note an image.

        Raises:
            DiskFullError: there is no space for it.
        """
        fields = asdict(converted)
        line = json.dumps([stem, fields, _checksum(stem, fields)]) + "\n"
        with room_for(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(line)


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lines(path: Path) -> Iterator[tuple[str, Converted]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            stem, fields, checksum = json.loads(line)
            if checksum == _checksum(stem, fields):
                yield stem, Converted(**fields)
        except (ValueError, TypeError):
            continue  # cut off by a kill, or damaged: that image is converted again


def _checksum(stem: str, fields: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps([stem, fields]).encode())
