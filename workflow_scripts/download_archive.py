"""Download one public archive, resuming where an earlier run broke off, and record its hash."""

import logging
from pathlib import Path

from scan_core.params.command_line import run
from scan_core.storage.files import write_json


def download_archive(archive: str, output: Path, record: Path, manual_folder: Path) -> None:
    """Download one public archive, resuming where an earlier run broke off, and record its hash.

    Args:
        archive: name in scan_core/datasets/archives.yaml.
        output: the archive, once complete.
        record: JSON file to write: address, size, sha256.
        manual_folder: an archive placed here is used instead.
    """
    from scan_core.datasets.archives import archive_named, download

    obtained = download(archive_named(archive), output, manual_folder)
    write_json(record, obtained)
    logging.info("%s: %d bytes, sha256 %s", archive, obtained["bytes"], obtained["sha256"])


if __name__ == "__main__":
    run(download_archive)
