"""Extract one archive into the raw data and record what it was and how many files it held."""

import logging
from pathlib import Path

from scan_core.params.command_line import run
from scan_core.storage.files import read_json, write_json


def extract_archive(name: str, archive: Path, record: Path, raw_root: Path, output: Path) -> None:
    """Extract one archive into the raw data and record what it was and how many files it held.

    Args:
        name: of the archive, in scan_core/datasets/archives.yaml.
        archive: its file.
        record: of its download.
        raw_root: root of the raw data.
        output: JSON file to write.
    """
    from scan_core.datasets.archives import archive_named
    from scan_core.datasets.extraction import extract

    download = read_json(record)
    files = extract(archive, raw_root / archive_named(name).extract_to)
    known = {key: download.get(key) for key in ("name", "url", "bytes", "sha256")}
    write_json(output, {**known, "members": files})
    logging.info("%s: %d files in place", name, files)


if __name__ == "__main__":
    run(extract_archive)
