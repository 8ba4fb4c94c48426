"""Download one public archive, resuming where an earlier run broke off, and record its hash."""

import argparse
import dataclasses
import json
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.datasets.download.archives import ARCHIVES
from scan_core.datasets.download.fetch import download, obtained_before
from scan_core.storage.atomic import write_text


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--archive", required=True, choices=ARCHIVES, help="name of the archive")
    result.add_argument("--output", type=Path, required=True, help="the archive, once complete")
    result.add_argument("--record", type=Path, required=True, help="JSON: address, size, sha256")
    result.add_argument(
        "--manual-folder", type=Path, required=True, help="an archive placed here is used instead"
    )
    return result


def main(arguments: argparse.Namespace) -> None:
    """Download the archive and write its record."""
    archive = ARCHIVES[arguments.archive]
    record = obtained_before(archive, arguments.output, arguments.record) or download(
        archive, arguments.output, arguments.manual_folder
    )
    write_text(arguments.record, json.dumps(dataclasses.asdict(record), indent=1) + "\n")
    logging.info("%s: %d bytes, sha256 %s", record.name, record.bytes, record.sha256)


if __name__ == "__main__":
    run(parser(), main)
