"""Download one public archive, resuming where an earlier run broke off, and record its hash."""

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

    write_json(record, download(archive_named(archive), output, manual_folder))


if __name__ == "__main__":
    run(download_archive)
